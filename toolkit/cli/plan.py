"""``trtkit plan``: whether the target loads the checkpoint, what must change, and how to launch it."""

from __future__ import annotations

from pathlib import Path

import click

from toolkit.cli.common import byte_progress, echo_json, json_option, load_recipe, recipe_argument, set_option


@click.command()
@recipe_argument
@set_option
@click.option("--deep", is_flag=True, help="Read the weights too: measure what a transcode loses and a cast keeps.")
@click.option("--fetch", is_flag=True, help="With --deep: download the weights first where they are not here.")
@json_option
@click.pass_context
def command(
    ctx: click.Context, recipe_path: Path, overrides: tuple[str, ...], deep: bool, fetch: bool, as_json: bool
) -> None:
    """Show whether RECIPE's target loads the checkpoint, what must change and why, and how to launch it.

    Reads headers only, from the disk or by range requests from the Hub. Exits with 1 when the target cannot load the
    checkpoint, and when --deep would have to download the weights without --fetch.

    \b
    Example:
      trtkit plan recipes/gpt-oss-120b/b200.yaml
      trtkit plan recipes/tiny-gpt-oss/cpu.yaml --set target.runtime=tensorrt-llm \\
        --set target.release=1.2.1 --set target.gpu=b200
    """
    from toolkit.plan.describe import describe, download_line, measured_lines
    from toolkit.plan.source import download_of, open_source, plan_recipe

    recipe = load_recipe(recipe_path, overrides)
    plan = plan_recipe(recipe)
    document = {**plan.to_dict(), "digest": plan.digest}
    text = describe(plan, recipe.name)
    measures = deep and not plan.refusals
    absent = download_of(recipe) if measures and not fetch else None
    if absent is not None:
        text += f"\n  {download_line(absent)}"
    elif measures:
        from toolkit.plan.measure import measure

        with open_source(recipe) as source, byte_progress("measure") as progress:
            measured = measure(plan, source, progress)
        document["measured"] = measured.to_dict()
        text += "".join(f"\n  {line}" for line in measured_lines(measured))
    if as_json:
        echo_json(document)
    else:
        click.echo(text)
    if absent is not None:
        click.echo(
            "error: --deep reads the weights, and they are not here. Add --fetch to download them first", err=True
        )
    if plan.refusals or absent is not None:
        ctx.exit(1)

"""``trtkit engine``: build the bundle."""

from __future__ import annotations

from pathlib import Path

import click

from toolkit.cli.common import byte_progress, echo_json, json_option, load_recipe, recipe_argument, set_option


@click.command()
@recipe_argument
@set_option
@click.option("--dry-run", is_flag=True, help="Print the plan and the bundle's folder; write nothing.")
@json_option
@click.pass_context
def command(ctx: click.Context, recipe_path: Path, overrides: tuple[str, ...], dry_run: bool, as_json: bool) -> None:
    """Build the engine bundle of RECIPE: the smallest change that its target loads, verified against the source.

    A build that was interrupted goes on where it stopped; one with nothing changed does nothing. Exits with 1 when the
    target cannot load the checkpoint, with --dry-run as well.

    \b
    Example:
      trtkit engine recipes/tiny-gpt-oss/cpu.yaml
      trtkit engine recipes/tiny-gpt-oss/cpu.yaml --set target.runtime=tensorrt-llm \\
        --set target.release=1.2.1 --set target.gpu=b200 --set engine.output=build/tiny-b200
    """
    from toolkit.cli.plan import describe
    from toolkit.engine.build import build
    from toolkit.plan.source import open_planned, plan_recipe

    recipe = load_recipe(recipe_path, overrides)
    output = recipe.engine.output
    if dry_run:
        plan = plan_recipe(recipe)
        if as_json:
            echo_json({"output": str(output), "plan": plan.to_dict(), "digest": plan.digest})
        else:
            click.echo(describe(plan, recipe.name) + ("" if plan.refusals else f"\n  would go to {output}"))
        if plan.refusals:
            ctx.exit(1)
        return
    source, plan = open_planned(recipe)
    with source, byte_progress("engine") as progress:
        built = build(recipe, plan, source, progress)
    if as_json:
        echo_json(
            {
                "output": str(output),
                "made": built.made,
                "reused_shards": built.reused,
                "verified": built.bundle.manifest["verified"],
                "identity": built.bundle.manifest["identity"],
            }
        )
        return
    if not built.made:
        click.echo(f"{output}: nothing changed since it was built; nothing to do")
        return
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(plan.counts().items()))
    reused = f"; {built.reused} shard(s) were there already" if built.reused else ""
    click.echo(f"{output}: built and verified, tensors: {counts}{reused}")

"""``trtkit engine``: build the bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from toolkit.cli.common import byte_progress, echo_json, json_option, load_recipe, recipe_argument, set_option

if TYPE_CHECKING:
    from toolkit.plan.source import Download
    from toolkit.recipe import Recipe


@click.command()
@recipe_argument
@set_option
@click.option("--dry-run", is_flag=True, help="Print the plan and the bundle's folder; write nothing.")
@click.option("--fetch", is_flag=True, help="Download the weights first where they are not in the local Hub cache.")
@json_option
@click.pass_context
def command(
    ctx: click.Context, recipe_path: Path, overrides: tuple[str, ...], dry_run: bool, fetch: bool, as_json: bool
) -> None:
    """Build the engine bundle of RECIPE: the smallest change that its target loads, verified against the source.

    A build that was interrupted goes on where it stopped; one with nothing changed does nothing. Exits with 1 when the
    target cannot load the checkpoint, with --dry-run as well, and when the weights would have to be downloaded first:
    nothing large is fetched without --fetch, and nothing for a plan that cannot be built.

    \b
    Example:
      trtkit engine recipes/tiny-gpt-oss/cpu.yaml
      trtkit engine recipes/tiny-gpt-oss/cpu.yaml --set target.runtime=tensorrt-llm \\
        --set target.release=1.2.1 --set target.gpu=b200 --set engine.output=build/tiny-b200
    """
    from toolkit.engine.build import build, check_buildable
    from toolkit.plan.source import download_of, open_planned

    recipe = load_recipe(recipe_path, overrides)
    output = recipe.engine.output
    download = None if fetch and not dry_run else download_of(recipe)
    if dry_run or download is not None:
        ctx.exit(_only_plan(recipe, download, dry_run=dry_run, as_json=as_json))
    source, plan = open_planned(recipe, check_buildable)
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


def _only_plan(recipe: Recipe, download: Download | None, *, dry_run: bool, as_json: bool) -> int:
    """Print the plan, where the bundle would go and what must be fetched; the exit code."""
    from dataclasses import asdict

    from toolkit.plan.describe import describe, download_line
    from toolkit.plan.source import plan_recipe

    plan = plan_recipe(recipe)
    output = str(recipe.engine.output)
    if as_json:
        fetched = asdict(download) if download else None
        echo_json({"output": output, "plan": plan.to_dict(), "digest": plan.digest, "download": fetched})
        return 1 if plan.refusals or not dry_run else 0
    click.echo(describe(plan, recipe.name))
    if plan.refusals:
        return 1
    if download is not None:
        click.echo(f"  {download_line(download)}")
    click.echo(f"  would go to {output}")
    if dry_run:
        return 0
    click.echo("error: the weights are not here. Add --fetch to download them first", err=True)
    return 1

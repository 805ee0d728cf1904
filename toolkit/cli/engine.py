"""``trtkit engine``: build the bundle, or check one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from toolkit.cli.common import byte_progress, echo_json, json_option, load_recipe, set_option

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from toolkit.engine.build import Built
    from toolkit.plan.source import Download
    from toolkit.plan.types import Plan
    from toolkit.recipe import Recipe

FORMATS = {"transcode": "NVFP4 to MXFP4", "cast": "MXFP4 to NVFP4"}


@click.command()
@click.argument("recipe_path", metavar="RECIPE", required=False, type=click.Path(path_type=Path))
@set_option
@click.option("--dry-run", is_flag=True, help="Print the plan and the bundle's folder; write nothing.")
@click.option("--fetch", is_flag=True, help="Download the weights first where they are not in the local Hub cache.")
@click.option(
    "--check",
    metavar="BUNDLE",
    type=click.Path(path_type=Path),
    help="Build nothing: read every byte of BUNDLE and compare it with what the build recorded.",
)
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    recipe_path: Path | None,
    overrides: tuple[str, ...],
    dry_run: bool,
    fetch: bool,
    check: Path | None,
    as_json: bool,
) -> None:
    """Build the engine bundle of RECIPE: the smallest change that its target loads, hashed as it is read and written.

    A build that was interrupted goes on where it stopped; one with nothing changed does nothing. Exits with 1 when the
    target cannot load the checkpoint, with --dry-run as well, and when the weights would have to be downloaded first:
    nothing large is fetched without --fetch, and nothing for a plan that cannot be built. With --check no recipe,
    source or network is needed.

    \b
    Example:
      trtkit engine recipes/tiny-gpt-oss/cpu.yaml
      trtkit engine recipes/tiny-gpt-oss/cpu.yaml --set target.runtime=tensorrt-llm \\
        --set target.release=1.2.1 --set target.gpu=b200 --set engine.output=build/tiny-b200
      trtkit engine --check build/tiny-b200
    """
    if check is not None:
        if recipe_path is not None or overrides or dry_run or fetch:
            raise click.UsageError(
                "--check takes a bundle's folder and neither RECIPE nor --set, --dry-run or --fetch."
            )
        return _check(check, as_json=as_json)
    if recipe_path is None:
        raise click.UsageError("Missing argument 'RECIPE'.")
    return _build(ctx, load_recipe(recipe_path, overrides), dry_run=dry_run, fetch=fetch, as_json=as_json)


def _build(ctx: click.Context, recipe: Recipe, *, dry_run: bool, fetch: bool, as_json: bool) -> None:
    from toolkit.engine.build import build
    from toolkit.plan.source import download_of, open_planned

    download = None if fetch and not dry_run else download_of(recipe)
    if dry_run or download is not None:
        ctx.exit(_only_plan(recipe, download, dry_run=dry_run, as_json=as_json))
    source, plan = open_planned(recipe)
    with source, byte_progress("engine") as progress:
        built = build(recipe, plan, source, progress)
    manifest = built.bundle.manifest
    if as_json:
        echo_json(
            {
                "output": str(recipe.engine.output),
                "made": built.made,
                "reused_shards": built.reused,
                "verified": manifest["verified"],
                "fidelity": manifest.get("fidelity", {}).get("totals", {}),
                "engine": manifest.get("engine"),
                "identity": manifest["identity"],
            }
        )
        return
    click.echo(_summary(recipe.engine.output, plan, built))
    for kind, total in manifest.get("fidelity", {}).get("totals", {}).items():
        click.echo(f"  {_fidelity(kind, total)}")
    if (engine := manifest.get("engine")) is not None:
        click.echo(f"  {_engine(engine)}")


def _summary(output: Path, plan: Plan, built: Built) -> str:
    if not built.made:
        return f"{output}: nothing changed since it was built; nothing to do"
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(plan.counts().items()))
    reused = f"; {built.reused} shard(s) were there already" if built.reused else ""
    return f"{output}: built and verified, tensors: {counts}{reused}"


def _fidelity(kind: str, total: Mapping[str, Any]) -> str:
    exact, blocks = total["exact_blocks"], total["blocks"]
    share = f"{100 * total['exact_share']:.2f} %"
    return f"{FORMATS[kind]}: {exact:,} of {blocks:,} blocks exact ({share}), relative RMS {total['relative_rms']:.5f}"


def _engine(engine: Mapping[str, Any]) -> str:
    if engine["compiled"]:
        return f"compiled by trtllm-build; its output is in {engine['log']}"
    return f"not compiled: trtllm-build is not here. Where it is, build again, or type: {engine['command']}"


def _check(folder: Path, *, as_json: bool) -> None:
    from toolkit.engine.bundle import Bundle

    bundle = Bundle.open(folder)
    total, done = bundle.nbytes, 0
    with byte_progress("check") as progress:

        def advance(count: int) -> None:
            nonlocal done
            done += count
            progress(done, total)

        bundle.check(advance)
    files, manifest = len(bundle.manifest["files"]), bundle.manifest
    if as_json:
        echo_json(
            {
                "bundle": str(folder),
                "sound": True,
                "files": files,
                "nbytes": total,
                "created": manifest.get("created"),
                "identity": manifest["identity"],
                "verified": manifest["verified"],
            }
        )
        return
    click.echo(
        f"{folder}: {files} files, {total:,} bytes: each has the SHA-256 that the build recorded, none is missing or "
        f"extra. The source was not read"
    )


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

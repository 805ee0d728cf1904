"""``trtkit doctor``: what this machine has, and whether it can run a recipe's target."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from toolkit.cli.common import echo_json, json_option, load_recipe, set_option

if TYPE_CHECKING:
    from toolkit.preflight.finding import Finding
    from toolkit.recipe import Recipe

LABELS = {"ok": "ok", "warn": "warn", "fail": "FAIL", "skip": "skip"}
HAS_OR_NOT = {**LABELS, "skip": "no"}


@click.command()
@click.argument("recipe_path", metavar="[RECIPE]", type=click.Path(path_type=Path), required=False)
@set_option
@click.option("--has", "wanted", metavar="NAME", help="Print nothing; exit with 0 if NAME is usable here, else 1.")
@json_option
@click.pass_context
def command(
    ctx: click.Context, recipe_path: Path | None, overrides: tuple[str, ...], wanted: str | None, as_json: bool
) -> None:
    """Say what this machine has of what trtkit can use; with RECIPE, whether it can run that recipe's target.

    Checks release, driver, CUDA, GPUs, loader features, shared memory, limits, disk, tokenizer and ports. Run it where
    the target will run, inside the container. Exits with 1 when a check of RECIPE fails.

    \b
    Example:
      trtkit doctor
      trtkit doctor recipes/gpt-oss-120b/b200.yaml
      trtkit doctor --has triton && trtkit serve recipes/tiny-gpt-oss/cpu.yaml
    """
    if recipe_path is None and overrides:
        raise click.UsageError("--set overrides a key of RECIPE, and none is given")
    recipe = load_recipe(recipe_path, overrides) if recipe_path is not None else None
    # as another command takes the recipe
    named = shlex.join([str(recipe_path), *(word for override in overrides for word in ("--set", override))])
    findings = _find(recipe, named)
    if wanted is not None:
        found = {finding.name: finding for finding in findings}
        if wanted not in found:
            raise click.BadParameter(f"one of {', '.join(found)}", param_hint="--has")
        ctx.exit(0 if found[wanted].usable else 1)
    if as_json:
        echo_json([finding.to_dict() for finding in findings])
    else:
        click.echo(describe(findings, LABELS if recipe else HAS_OR_NOT))
        if recipe:
            click.echo(verdict(findings, recipe.name))
    if any(finding.status == "fail" for finding in findings):
        ctx.exit(1)


def _find(recipe: Recipe | None, named: str) -> list[Finding]:
    if recipe is None:
        from toolkit.preflight.inventory import examine

        return examine()
    from toolkit.preflight.doctor import preflight

    return preflight(recipe, named)


def describe(findings: Sequence[Finding], labels: dict[str, str]) -> str:
    """One line a finding: what was found, and after the arrow what to do."""
    width, name = max(map(len, labels.values())), max(9, *(len(finding.name) for finding in findings))
    return "\n".join(
        f"{labels[finding.status]:<{width}} {finding.name:<{name}} {finding.detail}"
        + (f" → {finding.fix}" if finding.fix else "")
        for finding in findings
    )


def verdict(findings: Sequence[Finding], name: str) -> str:
    failed = [finding.name for finding in findings if finding.status == "fail"]
    return f"{name}: cannot run here: {', '.join(failed)}" if failed else f"{name}: can run here"

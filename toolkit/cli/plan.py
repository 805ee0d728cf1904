"""``trtkit plan``: what the target needs changed, and why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from toolkit.cli.common import echo_json, json_option, load_recipe, recipe_argument, set_option

if TYPE_CHECKING:
    from toolkit.plan.types import Plan

VERDICTS = {"loads": "loads as it is", "after-change": "loads after a change", "refused": "cannot be loaded"}


@click.command()
@recipe_argument
@set_option
@json_option
@click.pass_context
def command(ctx: click.Context, recipe_path: Path, overrides: tuple[str, ...], as_json: bool) -> None:
    """Show what RECIPE's target needs changed in the checkpoint, and why. Reads headers only.

    Exits with 1 when the target cannot load the checkpoint.

    \b
    Example:
      trtkit plan recipes/gpt-oss-120b/b200.yaml
      trtkit plan recipes/tiny-gpt-oss/cpu.yaml --set target.runtime=tensorrt-llm \\
        --set target.release=1.2.1 --set target.gpu=b200
    """
    from toolkit.plan.source import plan_recipe

    recipe = load_recipe(recipe_path, overrides)
    plan = plan_recipe(recipe)
    if as_json:
        echo_json({**plan.to_dict(), "digest": plan.digest})
    else:
        click.echo(describe(plan, recipe.name))
    if plan.refusals:
        ctx.exit(1)


def describe(plan: Plan, name: str) -> str:
    """The plan for a person: the verdict, what changes and why, what to check."""
    from toolkit.checkpoint.source import TOKENIZER

    target = plan.target
    where = "cpu" if target["runtime"] == "cpu" else f"TensorRT-LLM {target['release']} on {target['gpu']}"
    lines = [f"{name}: {VERDICTS[plan.verdict]} ({where})"]
    if plan.predicted:
        lines.append("  Predicted from the published export recipe; no header was read.")
    if plan.refusals:
        for refusal in plan.refusals:
            lines += [f"  refused    {refusal.what}", f"  way out    {refusal.way_out}"]
        return "\n".join(lines)
    lines += _action_lines(plan)
    if plan.json_files:
        lines.append(f"  rewrite    {', '.join(plan.json_files)}")
    shards = "" if plan.predicted else f" in {len(plan.shards)} shard(s)"
    lines.append(f"  output     {plan.output_bytes:,} bytes{shards}")
    if not plan.predicted and TOKENIZER not in {copy.file for copy in plan.copies}:
        lines.append(f"  note       no {TOKENIZER}: serving needs one; set checkpoint.tokenizer to its folder")
    if plan.confirm:
        lines.append(f"  confirm in the container, must print True:\n    {plan.confirm}")
    return "\n".join(lines)


def _action_lines(plan: Plan) -> list[str]:
    counts: dict[tuple[str, str], int] = {}
    for action in plan.actions:
        counts[action.kind, action.reason] = counts.get((action.kind, action.reason), 0) + 1
    return [
        f"  {kind:<10} {count:>5} tensors  {plan.reasons[reason]}" for (kind, reason), count in sorted(counts.items())
    ]

"""``trtkit doctor``: what this machine has of what trtkit can use."""

from __future__ import annotations

import click

from toolkit.cli.common import echo_json, json_option


@click.command()
@click.option("--has", "wanted", metavar="NAME", help="Print nothing; exit with 0 if NAME is usable here, else 1.")
@json_option
@click.pass_context
def command(ctx: click.Context, wanted: str | None, as_json: bool) -> None:
    """Say what this machine has of what trtkit can use, and what to type for the rest.

    \b
    Example:
      trtkit doctor
      trtkit doctor --has triton && trtkit serve recipes/tiny-gpt-oss/cpu.yaml
    """
    from toolkit.preflight.doctor import examine

    findings = examine()
    if wanted is not None:
        found = {finding.name: finding for finding in findings}
        if wanted not in found:
            raise click.BadParameter(f"one of {', '.join(found)}", param_hint="--has")
        ctx.exit(0 if found[wanted].usable else 1)
    if as_json:
        echo_json([{"name": f.name, "usable": f.usable, "detail": f.detail} for f in findings])
        return
    for finding in findings:
        click.echo(f"{'ok ' if finding.usable else 'no '} {finding.name:<9} {finding.detail}")

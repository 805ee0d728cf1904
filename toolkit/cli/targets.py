"""``trtkit targets``: the releases, GPUs, kernels and images that trtkit knows, each with its sources."""

from __future__ import annotations

import click

from toolkit.cli.common import echo_json, json_option


@click.command()
@click.argument("name", required=False)
@json_option
def command(name: str | None, as_json: bool) -> None:
    """Show the releases, GPUs, kernels and images that trtkit knows, or NAME with its sources.

    NAME is a GPU, a TensorRT-LLM release, the tag of an image, or the name of a kernel or fact that a plan cites.

    \b
    Example:
      trtkit targets
      trtkit targets rtx-5090
      trtkit targets 1.2.1 --json
    """
    from toolkit.trtllm import describe, load_targets

    targets = load_targets()
    named = None if name is None else targets.find(name)
    if as_json:
        echo_json(describe.document_of(targets, named))
        return
    for line in describe.lines(targets) if named is None else describe.lines_of(targets, named):
        click.echo(line)

"""``trtkit inspect``: what a checkpoint is, and what is wrong with it."""

from __future__ import annotations

import click

from toolkit.cli.common import byte_progress, echo_json, json_option, terminated_as_interrupted


@click.command()
@click.argument("source", metavar="PATH|hub:REPO[@REV]")
@click.option("--deep", is_flag=True, help="Also read every FP4 weight and block scale: histogram, saturation, zeros.")
@json_option
def command(source: str, deep: bool, as_json: bool) -> None:
    """Say what a checkpoint is and what is wrong with it, each with its repair.

    Reads headers, JSON files and, of a folder, the scalar scales. Of a repository on the Hugging Face Hub only headers
    are transferred. Exits with 0 whatever is found; with 1 when the checkpoint cannot be read.

    \b
    Example:
      trtkit inspect samples/tiny-gpt-oss/nvfp4
      trtkit inspect hub:Firworks/gpt-oss-120b-nvfp4
      trtkit inspect --deep --json samples/tiny-gpt-oss/nvfp4
    """
    from toolkit.inspection import inspect_source, to_text

    if deep:
        with terminated_as_interrupted(), byte_progress("Reading") as update:
            found = inspect_source(source, deep=True, progress=update)
    else:
        found = inspect_source(source)
    if as_json:
        echo_json(found.to_dict())
    else:
        click.echo(to_text(found))

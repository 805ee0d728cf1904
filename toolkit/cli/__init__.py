"""The ``trtkit`` command. Errors become one line on stderr and an exit code here and nowhere else.

Exit codes: 0 done, 1 a ``TrtkitError`` or an ``OSError`` that no room explains, 2 a usage error, 130 interrupted.
Results go to stdout, talk to stderr.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import click

from toolkit import __version__
from toolkit.errors import TrtkitError

# Help of the group comes from this table, so that `trtkit --help` imports none of the verbs.
VERBS = {
    "inspect": "Say what a checkpoint is and what is wrong with it.",
    "targets": "List the releases, GPUs, kernels and images that trtkit knows.",
    "recipes": "List, show and validate recipes.",
    "plan": "Say whether a recipe's target loads the checkpoint, what must change, and how to launch it.",
    "engine": "Build the engine bundle of a recipe.",
    "repo": "Render the Triton model repository of a built bundle.",
    "serve": "Start Triton on a recipe's bundle.",
    "generate": "Stream one completion.",
    "chat": "Talk to a model in the terminal.",
    "batch": "Run prompts from a JSON Lines file.",
    "bench": "Run a sweep, or report on recorded ones.",
    "deploy": "Render Docker Compose or Kubernetes manifests of a recipe.",
    "doctor": "Say what this machine has of what trtkit or a recipe needs.",
}


class VerbGroup(click.Group):
    """Loads ``toolkit.cli.<verb>`` when the verb is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        command: click.Command = importlib.import_module(f"toolkit.cli.{name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], VERBS, n=1)
            meant = f" Did you mean {near[0]!r}?" if near else f" Commands: {', '.join(VERBS)}."
            ctx.fail(f"No such command {args[0]!r}.{meant}")
        return super().resolve_command(ctx, args)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().main(*args, **kwargs)
        except OSError as error:  # a closed pipe is click's
            where = f"{error.filename}: " if error.filename is not None else ""
            click.echo(f"error: {where}{error.strerror or error}", err=True)
            _give_up_full_stdout()
            sys.exit(1)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except TrtkitError as error:
            click.echo(f"error: {' '.join(str(error).split())}", err=True)
            ctx.exit(1)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(130)


def _give_up_full_stdout() -> None:
    """Drop what a full disk did not take, so that Python does not fail at it again on its way out."""
    try:
        sys.stdout.flush()
    except OSError:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


@click.group(cls=VerbGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="trtkit")
def main() -> None:
    """Take a ModelOpt FP4 checkpoint to a verified TensorRT-LLM deployment with recorded numbers.

    \b
    Example:
      trtkit inspect samples/tiny-gpt-oss/nvfp4
      trtkit plan recipes/tiny-gpt-oss/cpu.yaml
      trtkit engine recipes/tiny-gpt-oss/cpu.yaml
      trtkit generate --local recipes/tiny-gpt-oss/cpu.yaml "The file object"
    """

"""Print docs/cli.md: the ``--help`` of every verb, so that the document cannot drift from the command."""

from __future__ import annotations

import click

from toolkit.cli import main


def sections(command: click.Command, path: str, parent: click.Context | None = None) -> list[str]:
    name = path.rsplit(" ", 1)[-1]
    context = click.Context(command, info_name=name, parent=parent, terminal_width=100, **command.context_settings)
    out = [f"## {path}\n\n```text\n{command.get_help(context)}\n```\n"]
    if isinstance(command, click.Group):
        for verb in command.list_commands(context):
            child = command.get_command(context, verb)
            assert child is not None
            out += sections(child, f"{path} {verb}", context)
    return out


if __name__ == "__main__":
    print("# Command reference\n\nGenerated from `--help`; type `make generated` to write it anew.\n")
    print("\n".join(sections(main, "trtkit")), end="")

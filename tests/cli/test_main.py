from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import Result

import toolkit.cli
from toolkit.cli import VERBS, VerbGroup, main
from toolkit.errors import TrtkitError

Run = Callable[..., Result]


def test_help_lists_every_verb(trtkit: Run) -> None:
    result = trtkit("--help")
    assert result.exit_code == 0
    for name, summary in VERBS.items():
        assert f"  {name} " in result.output
        assert summary.split(".")[0][:40] in result.output


def test_the_table_of_verbs_is_the_folder() -> None:
    folder = Path(toolkit.cli.__file__).parent
    assert set(VERBS) == {path.stem for path in folder.glob("*.py")} - {"__init__", "common"}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(trtkit: Run, verb: str) -> None:
    result = trtkit(verb, "--help")
    assert result.exit_code == 0
    assert f"trtkit {verb}" in result.output.split("Example:")[1]


def test_a_misspelt_verb(trtkit: Run) -> None:
    result = trtkit("engin")
    assert result.exit_code == 2
    assert result.stderr.endswith("Error: No such command 'engin'. Did you mean 'engine'?\n")


@pytest.mark.parametrize(
    ("error", "code", "stderr"),
    [
        (
            TrtkitError("two\n  lines", where="x.yaml:3", hint="Type: this"),
            1,
            "error: x.yaml:3: two lines. Type: this\n",
        ),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (PermissionError(13, "Permission denied", "/x/y"), 1, "error: /x/y: Permission denied\n"),
        (OSError(28, "No space left on device"), 1, "error: No space left on device\n"),
        (OSError("no reason"), 1, "error: no reason\n"),
        (BrokenPipeError(32, "Broken pipe"), 1, ""),
    ],
)
def test_exit_codes(monkeypatch: pytest.MonkeyPatch, trtkit: Run, error: BaseException, code: int, stderr: str) -> None:
    @click.command()
    def failing() -> None:
        raise error

    monkeypatch.setattr(VerbGroup, "get_command", lambda self, ctx, name: failing)
    result = trtkit("plan")
    assert (result.exit_code, result.stdout, result.stderr) == (code, "", stderr)


@pytest.mark.parametrize("argv", [("--help",), ("recipes", "ls"), ("plan", "tiny-gpt-oss/cpu")])
def test_a_full_disk_behind_stdout_is_one_line(root: Path, argv: tuple[str, ...]) -> None:
    code = "from toolkit.cli import main; main(prog_name='trtkit')"
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            [sys.executable, "-c", code, *argv],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=root,
            env=buffered,
            check=False,
        )
    assert (result.returncode, result.stderr) == (1, "error: No space left on device\n")


def test_version(trtkit: Run) -> None:
    assert trtkit("--version").output == f"trtkit, version {toolkit.__version__}\n"
    assert isinstance(main, click.Group)

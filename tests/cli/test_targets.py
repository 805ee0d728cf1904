from __future__ import annotations

import json

import click
import pytest
from click.testing import CliRunner, Result

from toolkit.cli.targets import command
from toolkit.errors import PlanError


def run(*argv: str) -> Result:
    return CliRunner().invoke(command, argv)


def test_everything_then_one() -> None:
    whole = run()
    assert whole.exit_code == 0
    assert whole.output.startswith("Releases\n")
    assert whole.output.endswith("\nFacts as of 2026-11-24. One with its sources: trtkit targets NAME\n")
    one = run("b200")
    assert one.exit_code == 0
    assert one.output.startswith("b200: NVIDIA B200 SXM\n  SM                100\n")


def test_json() -> None:
    assert list(json.loads(run("--json").output)["gpus"]) == [
        *("b200", "gb200", "b300", "gb300", "h100", "h200", "rtx-5090", "rtx-pro-6000", "dgx-spark")
    ]
    assert json.loads(run("1.2.1", "--json").output)["gpt_oss_nvfp4"] == "unverified"


def test_an_unknown_name() -> None:
    with pytest.raises(PlanError, match=r"^no GPU, release, image or fact has the name 'b201'. Did you mean 'b200'"):
        CliRunner().invoke(command, ["b201"], catch_exceptions=False)


def test_help_has_an_example() -> None:
    assert "\n  Example:\n    trtkit targets\n" in click.unstyle(run("--help").output)

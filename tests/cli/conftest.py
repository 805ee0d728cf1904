from __future__ import annotations

from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result

from toolkit.cli import main

Run = Callable[..., Result]


@pytest.fixture
def trtkit() -> Run:
    """Run the command in this process: ``trtkit("plan", RECIPE)``."""
    return lambda *argv: CliRunner().invoke(main, [str(word) for word in argv], prog_name="trtkit")

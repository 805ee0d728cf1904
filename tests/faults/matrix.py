"""The fault matrix: what each fault test declares, and docs/reliability.md made of it.

A test carries its row with ``@fault``, or takes rows as parameters with ``@faults``, and gets it as the fixture
``row``. What stands in backquotes under ``client`` is text that the client gets; tests hold it against ``row.says``.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import pytest

Test = TypeVar("Test", bound=Callable[..., None])

GO_ON = "go on"
AS_BEFORE = "as before"
FOLDER = Path(__file__).parent
MODULES = ("test_requests", "test_streams", "test_engines", "test_kills")

HEAD = """# Reliability

What goes wrong, what a client sees of it, what happens to the streams beside it, and how the server is afterwards.
Every row is run by the test that it names (`tests/faults/`), against the real Triton (24.10); the table is made of the
tests' own declarations (`make generated`), and `test_matrix.py` fails when the two disagree.

- **go on**: a stream that is open before the fault and stays open gets all its tokens, in order, meanwhile and
  afterwards.
- **as before**: no other request runs or waits (`trtkit_running_requests`, `trtkit_waiting_requests`), the server's
  shared memory is the regions that it was, and the next request is answered.
- **nothing left**: no process of the server lives and no shared memory under its prefix remains.

Texts are quoted from the client's error; `…` stands for what varies. A row for both adapters is run on the real CPU
runtime and on the TensorRT-LLM adapter over the stand-in of its API in `tests/fakes`. No row was run on a GPU.

"""
COLUMNS = ("fault", "the client sees", "other streams", "afterwards", "test")


@dataclass(frozen=True, slots=True)
class Fault:
    """One row. ``payload`` is whatever a test with rows as parameters needs to make the fault."""

    id: str
    what: str
    client: str
    others: str = GO_ON
    after: str = AS_BEFORE
    payload: Any = None

    @property
    def says(self) -> re.Pattern[str]:
        """The first text in backquotes under ``client``; ``…`` matches anything."""
        quoted = re.search("`([^`]+)`", self.client)
        assert quoted is not None, f"row {self.id} quotes nothing"
        return re.compile(".*".join(re.escape(part) for part in quoted[1].split("…")))


def fault(id: str, what: str, *, client: str, others: str = GO_ON, after: str = AS_BEFORE) -> Callable[[Test], Test]:
    """Declare the row that a test runs."""
    return _declare((Fault(id, what, client, others, after),))


def faults(rows: Sequence[Fault]) -> Callable[[Test], Test]:
    """Declare a test that runs once for each of ``rows``."""

    def decorate(test: Test) -> Test:
        parameters = [pytest.param(row, id=row.id) for row in rows]
        pytest.mark.parametrize("row", parameters)(test)
        return _declare(rows)(test)

    return decorate


def _declare(rows: Sequence[Fault]) -> Callable[[Test], Test]:
    def decorate(test: Test) -> Test:
        test.faults = tuple(rows)  # type: ignore[attr-defined]
        return test

    return decorate


def declared(module: ModuleType) -> Iterator[tuple[Fault, str]]:
    """The rows of one module in the order of its source, each with the id of its test."""
    for name, test in vars(module).items():
        for row in getattr(test, "faults", ()):
            yield row, f"{module.__name__.rpartition('.')[2]}::{name}"


def modules() -> list[ModuleType]:
    return [importlib.import_module(f"tests.faults.{name}") for name in MODULES]


def all_rows() -> list[tuple[Fault, str]]:
    return [entry for module in modules() for entry in declared(module)]


def document() -> str:
    """docs/reliability.md."""
    rows = [(row.what, row.client, row.others, row.after, _test_id(row, test)) for row, test in all_rows()]
    lines = (_line(cells) for cells in (COLUMNS, ("---",) * len(COLUMNS), *rows))
    return HEAD + "\n".join(lines) + "\n"


def _test_id(row: Fault, test: str) -> str:
    many = row.payload is not None
    return f"`{test}[{row.id}]`" if many else f"`{test}`"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"

"""docs/reliability.md says what the fault tests run, and nothing else."""

from __future__ import annotations

from pathlib import Path

from tests.faults import matrix


def test_document_is_that_of_the_tests(root: Path) -> None:
    assert (root / "docs/reliability.md").read_text() == matrix.document(), "type: make generated"


def test_every_fault_test_is_in_the_table() -> None:
    files = {path.stem for path in matrix.FOLDER.glob("test_*.py")}
    assert files == {*matrix.MODULES, "test_matrix"}
    for module in matrix.modules():
        tests = {test for test in vars(module) if test.startswith("test_")}
        assert {test.partition("::")[2] for _, test in matrix.declared(module)} == tests


def test_ids_are_unique() -> None:
    ids = [row.id for row, _ in matrix.all_rows()]
    assert len(ids) == len(set(ids))

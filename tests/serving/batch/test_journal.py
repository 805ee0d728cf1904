from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from toolkit.errors import BatchError
from toolkit.serving.batch.journal import Journal

JOB = {"input": "a" * 64, "defaults": {"stop": ["x"]}, "model": {"identity": "m"}}


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


def journal(output: Path, job: dict[str, Any] = JOB) -> Journal:
    """Of a file whose lines 1, 2 and 4 are requests."""
    return Journal(output, job, requests=3, last_line=4)


def files(output: Path) -> list[str]:
    return sorted(path.name for path in output.parent.iterdir())


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def fill(output: Path, *numbers: int, fails: tuple[int, ...] = ()) -> None:
    with journal(output).open() as opened:
        for number in numbers:
            opened.append(number, {"error": "no"} if number in fails else {"text": str(number)})
        opened.finish()


def test_records_are_kept_as_they_come_and_written_in_order(output: Path) -> None:
    with journal(output).open() as opened:
        opened.append(4, {"text": "d"})
        opened.append(1, {"text": "a\ud800"})
        opened.finish()
        assert files(output) == ["out.jsonl.job", "out.jsonl.partial"]
        assert [record["line"] for record in lines(output.with_name("out.jsonl.partial"))] == [4, 1]
        opened.append(2, {"text": "b"})
        opened.finish()
    assert files(output) == ["out.jsonl", "out.jsonl.job"]
    assert lines(output) == [{"line": 1, "text": "a\ud800"}, {"line": 2, "text": "b"}, {"line": 4, "text": "d"}]


def test_goes_on_where_it_stopped_even_in_the_middle_of_a_record(output: Path) -> None:
    fill(output, 2)
    partial = output.with_name("out.jsonl.partial")
    with partial.open("ab") as file:
        file.write(b'{"line": 1, "te')
    with journal(output).open() as opened:
        assert [opened.done(number) for number in (1, 2, 4)] == [False, True, False]
        assert (opened.recorded, opened.settled, opened.ok, opened.failed) == (1, 1, 1, 0)
        opened.append(1, {"text": "a"})
        opened.append(4, {"text": "d"})
        opened.finish()
    assert [record["line"] for record in lines(output)] == [1, 2, 4]


def test_a_finished_batch_stays_so(output: Path) -> None:
    fill(output, 1, 2, 4)
    before = output.read_bytes()
    with journal(output).open() as opened:
        assert (opened.recorded, opened.done(4)) == (3, True)
        opened.finish()
    assert output.read_bytes() == before
    assert files(output) == ["out.jsonl", "out.jsonl.job"]


def test_failed_lines_count_as_done_unless_they_are_to_be_tried_again(output: Path) -> None:
    fill(output, 1, 2, 4, fails=(2,))
    with journal(output).open() as opened:
        assert (opened.done(2), opened.settled, opened.failed) == (True, 3, 1)
    with journal(output).open(retry_failed=True) as opened:
        assert [opened.done(number) for number in (1, 2, 4)] == [True, False, True]
        assert (opened.settled, opened.failed) == (2, 1)
        opened.append(2, {"text": "b"})
        assert opened.failed == 0
        opened.finish()
    assert [record.get("text") for record in lines(output)] == ["1", "b", "4"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"input": "b" * 64}, "was begun with another input"),
        ({"defaults": {}, "model": {}}, "was begun with other sampling options and another model"),
    ],
)
def test_another_batch_is_refused_with_the_line_to_type(output: Path, changed: dict[str, Any], said: str) -> None:
    fill(output, 1)
    with pytest.raises(BatchError) as caught:
        journal(output, JOB | changed).open()
    assert str(caught.value) == (f"{output}: {said}. Name another output, or type: rm {output}.job {output}.partial")


def test_output_that_no_batch_wrote_is_left_alone(output: Path) -> None:
    output.write_text("mine")
    with pytest.raises(BatchError) as caught:
        journal(output).open()
    assert str(caught.value) == f"{output}: is there already, and of no batch that is known. Name another output"
    assert (output.read_text(), files(output)) == ("mine", ["out.jsonl"])


def test_output_in_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BatchError) as caught:
        journal(tmp_path / "no" / "out.jsonl").open()
    assert str(caught.value) == f"{tmp_path / 'no'}: no such folder. Name another output"


@pytest.mark.parametrize("damage", [b"{}\n", b"[]\n", b'{"line": 99}\n', b'{"line": "1"}\n', b"\xff\n"])
def test_damaged_record(output: Path, damage: bytes) -> None:
    fill(output, 1)
    with output.with_name("out.jsonl.partial").open("ab") as file:
        file.write(damage)
    with pytest.raises(BatchError, match=r"is damaged at line 2 of out\.jsonl\.partial"):
        journal(output).open()


@pytest.mark.parametrize("damage", ["{", "[]"])
def test_damaged_job(output: Path, damage: str) -> None:
    fill(output, 1)
    output.with_name("out.jsonl.job").write_text(damage)
    with pytest.raises(BatchError, match=r"has a damaged \.job file"):
        journal(output).open()


def test_one_at_a_time(output: Path) -> None:
    with journal(output).open(), pytest.raises(BatchError, match="another trtkit batch is writing it"):
        journal(output).open()
    with journal(output).open():
        pass


def test_full_disk_is_named(output: Path) -> None:
    output.with_name("out.jsonl.partial").symlink_to("/dev/full")
    output.with_name("out.jsonl.job").write_text(json.dumps(JOB))
    opened = journal(output)
    opened._file = output.with_name("out.jsonl.partial").open("r+b", buffering=0)
    with opened, pytest.raises(OSError, match=r"No space left on device: '.*out\.jsonl\.partial'"):
        opened.append(1, {"text": "a"})

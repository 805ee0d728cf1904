"""What a batch has done, on disk, so that it can be stopped at any moment and goes on where it stopped.

OUT.job      what the batch is: input, defaults, model; a run that differs in any of it is another batch
OUT.partial  a record a line, in the order of completion; the last line of a killed run may be torn
OUT          the same records in the order of the input, once every line has one
"""

from __future__ import annotations

import fcntl
import json
import os
import shlex
from array import array
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from toolkit.checkpoint.files import copy_atomic, sync_folder, write_atomic
from toolkit.errors import BatchError

_OTHER = {"input": "another input", "defaults": "other sampling options", "model": "another model"}
_ANOTHER = "Name another output"


class Journal:
    """The records of one batch; a context manager that holds the batch against other processes."""

    def __init__(self, output: Path, job: Mapping[str, Any], *, requests: int, last_line: int) -> None:
        """``job`` says in values of JSON what the batch is: its ``input``, ``defaults`` and ``model``.

        ``last_line`` is the largest line number there can be.
        """
        self._output = output
        self._job_path = output.with_name(f"{output.name}.job")
        self._partial = output.with_name(f"{output.name}.partial")
        self._job = json.loads(json.dumps(job))
        self._requests = requests
        self._begins = array("q", [-1]) * (last_line + 1)
        self._failed = bytearray(last_line + 1)
        self._retry = False
        self._file: BinaryIO | None = None

    @property
    def ok(self) -> int:
        """How many lines have an answer."""
        return self.recorded - self.failed

    @property
    def failed(self) -> int:
        return sum(self._failed)

    @property
    def recorded(self) -> int:
        return sum(begin >= 0 for begin in self._begins)

    @property
    def settled(self) -> int:
        """How many lines need not be asked again."""
        return self.ok if self._retry else self.recorded

    def open(self, *, retry_failed: bool = False) -> Self:
        """Read what was done before, if anything. With ``retry_failed``, lines that failed count as not done.

        Raises ``BatchError`` when the files there are another batch's, or no batch's at all, or in use.
        """
        self._retry = retry_failed
        self._claim()
        if not self._partial.exists() and self._output.exists():
            copy_atomic(self._output, self._partial)
        self._file = self._partial.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._load(self._file)
        except BlockingIOError:
            self._file.close()
            raise BatchError("another trtkit batch is writing it", where=str(self._partial)) from None
        except BaseException:
            self._file.close()
            raise
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def done(self, number: int) -> bool:
        return self._begins[number] >= 0 and not (self._retry and self._failed[number])

    def append(self, number: int, record: Mapping[str, Any]) -> None:
        """Keep the record of line ``number``; one with an ``error`` is that of a failure."""
        assert self._file is not None
        begin = self._file.seek(0, os.SEEK_END)
        try:
            self._file.write(_line({"line": number, **record}))
            self._file.flush()
        except OSError as error:  # a full disk: Python does not say whose
            raise OSError(error.errno, error.strerror, str(self._partial)) from None
        self._note(number, begin, record)

    def finish(self) -> None:
        """Write the output, whole and in order, if every line has a record."""
        if self.recorded < self._requests:
            return
        assert self._file is not None
        part = self._output.with_name(f"{self._output.name}.tmp")
        with part.open("wb") as file:
            for begin in self._begins:
                if begin >= 0:
                    self._file.seek(begin)
                    file.write(self._file.readline())
            file.flush()
            os.fsync(file.fileno())
        part.replace(self._output)
        self._partial.unlink()
        sync_folder(self._output.parent)

    def _claim(self) -> None:
        """Say whose the output is, or find that it is ours."""
        if self._job_path.exists():
            there = self._read_job()
            differing = [name for name in self._job if there.get(name) != self._job[name]]
            if differing:
                raise self._foreign(f"was begun with {' and '.join(_OTHER[name] for name in differing)}")
            return
        for path in (self._output, self._partial):
            if path.exists():
                # it may be the input itself, or a device: no case for a hint that removes it
                raise BatchError("is there already, and of no batch that is known", where=str(path), hint=_ANOTHER)
        if not self._output.parent.is_dir():
            raise BatchError("no such folder", where=str(self._output.parent), hint=_ANOTHER)
        write_atomic(self._job_path, json.dumps(self._job, indent=2).encode() + b"\n")

    def _read_job(self) -> dict[str, Any]:
        try:
            there = json.loads(self._job_path.read_bytes())
        except ValueError:
            there = None
        if not isinstance(there, dict):
            raise self._foreign("has a damaged .job file")
        return there

    def _load(self, file: BinaryIO) -> None:
        file.seek(0)
        begin = 0
        for count, raw in enumerate(iter(file.readline, b""), 1):
            if not raw.endswith(b"\n"):
                file.truncate(begin)  # what a killed run was writing
                break
            try:
                record = json.loads(raw)
                self._note(record["line"], begin, record)
            except (ValueError, TypeError, LookupError):
                raise self._foreign(f"is damaged at line {count} of {self._partial.name}") from None
            begin += len(raw)

    def _note(self, number: int, begin: int, record: Mapping[str, Any]) -> None:
        self._begins[number] = begin
        self._failed[number] = "error" in record

    def _foreign(self, what: str) -> BatchError:
        paths = [str(path) for path in (self._output, self._job_path, self._partial) if path.exists()]
        hint = f"{_ANOTHER}, or type: rm {shlex.join(paths)}"
        return BatchError(what, where=str(self._output), hint=hint)


def _line(record: Mapping[str, Any]) -> bytes:
    # a lone surrogate, which JSON can escape, could not be written as UTF-8
    return json.dumps(record, ensure_ascii=True, separators=(", ", ": ")).encode() + b"\n"

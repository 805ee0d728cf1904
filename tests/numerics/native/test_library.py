from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from toolkit.numerics.native import build, library
from toolkit.numerics.native.library import Isa


def test_loaded(compiled: Path) -> None:
    loaded = library.load(compiled)
    assert isinstance(loaded, ctypes.CDLL)
    found = library.supported(loaded)
    assert found[-1] is Isa.SCALAR
    assert found == [isa for isa in library.BEST_FIRST if isa in found]


def test_every_function_is_there(compiled: Path) -> None:
    loaded = ctypes.CDLL(str(compiled))
    assert [name for name in library.SIGNATURES if not hasattr(loaded, f"trtkit_{name}")] == []


def test_not_compiled(tmp_path: Path) -> None:
    assert library.load(tmp_path / "kernels.so") == "not compiled"


def test_another_platforms_library(tmp_path: Path) -> None:
    (tmp_path / "kernels.so").write_bytes(b"\x7fELF of something else")
    problem = library.load(tmp_path / "kernels.so")
    assert isinstance(problem, str)
    assert problem.startswith("kernels.so does not load: ")


def test_a_library_of_other_sources_is_not_used(compiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "source_digest", lambda: "0" * 16)
    assert library.load(compiled) == f"{build.LIBRARY.name} was compiled from other sources"

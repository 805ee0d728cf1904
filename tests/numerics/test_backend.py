from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from toolkit.errors import TrtkitError
from toolkit.numerics import backend
from toolkit.numerics.native import build, library


@pytest.fixture
def without_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(build, "LIBRARY", tmp_path / "kernels.so")
    monkeypatch.delenv(backend.VARIABLE, raising=False)
    forget()
    yield
    monkeypatch.undo()
    forget()


def forget() -> None:
    backend._loaded.cache_clear()
    backend._chosen.cache_clear()


@pytest.mark.usefixtures("without_library")
def test_numpy_where_nothing_is_compiled() -> None:
    assert (backend.codecs(), backend.name(), backend.available()) == (None, "numpy", [])
    assert backend.problem() == "not compiled"


@pytest.mark.usefixtures("without_library")
def test_kernels_that_are_asked_for_but_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(backend.VARIABLE, "scalar")
    with pytest.raises(TrtkitError) as caught:
        backend.codecs()
    assert str(caught.value) == (
        "TRTKIT_NATIVE asks for scalar, but the kernels are not compiled. Type: python -m toolkit.numerics.native.build"
    )


@pytest.fixture
def compiled_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A library on a CPU that has AVX2."""
    found = [library.Isa.AVX2, library.Isa.SCALAR]
    monkeypatch.setattr(library, "load", lambda path: object())
    monkeypatch.setattr(library, "supported", lambda loaded: found)
    monkeypatch.delenv(backend.VARIABLE, raising=False)
    forget()
    yield
    monkeypatch.undo()
    forget()


@pytest.mark.usefixtures("compiled_for")
@pytest.mark.parametrize(
    ("asked", "name"), [("", "c avx2"), ("avx2", "c avx2"), ("scalar", "c scalar"), ("off", "numpy")]
)
def test_the_variable(monkeypatch: pytest.MonkeyPatch, asked: str, name: str) -> None:
    monkeypatch.setenv(backend.VARIABLE, asked)
    assert backend.name() == name
    assert backend.available() == ["avx2", "scalar"]
    assert backend.problem() is None


@pytest.mark.usefixtures("compiled_for")
@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("avx512", "TRTKIT_NATIVE asks for avx512, which this CPU does not have. It has avx2, scalar"),
        ("fast", "TRTKIT_NATIVE is 'fast'. Set it to off, scalar, avx2, avx512, neon, or unset it"),
    ],
)
def test_what_the_variable_may_not_say(monkeypatch: pytest.MonkeyPatch, asked: str, message: str) -> None:
    monkeypatch.setenv(backend.VARIABLE, asked)
    with pytest.raises(TrtkitError) as caught:
        backend.name()
    assert str(caught.value) == message


@pytest.mark.usefixtures("compiled_for")
def test_threads() -> None:
    backend.set_threads(3)
    try:
        codecs = backend.codecs()
        assert codecs is not None
        assert codecs.threads == 3
    finally:
        backend.set_threads(1)
    with pytest.raises(ValueError, match=r"^0 threads$"):
        backend.set_threads(0)


@pytest.mark.parametrize("shape", [(), (0, 3), (5, 7), (1, 63)])
@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_empty_begins_a_cache_line(shape: tuple[int, ...], dtype: type) -> None:
    array = backend.empty(shape, dtype)
    assert (array.shape, array.dtype) == (shape, dtype)
    assert array.size == 0 or array.ctypes.data % 64 == 0
    assert array.flags.c_contiguous
    array[...] = 1


def test_importing_compiles_nothing_and_loads_nothing(tmp_path: Path, root: Path) -> None:
    code = (
        "import subprocess, ctypes\n"
        "def refuse(*a, **k): raise AssertionError('started or loaded something')\n"
        "import numpy\n"
        "subprocess.Popen = refuse; ctypes.CDLL = refuse\n"
        "from toolkit.numerics import nvfp4, mxfp4, transcode, cast, backend\n"
        "print('imported')\n"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert result.stdout == "imported\n"

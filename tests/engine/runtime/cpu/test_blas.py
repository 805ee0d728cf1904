"""Setting BLAS threads while the process runs."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import pytest

from toolkit.engine.runtime.cpu import CpuEngine, blas
from toolkit.engine.runtime.cpu.blas import can_set_threads, set_threads


def test_openblas_takes_the_number() -> None:
    paths = sorted(Path(np.__file__).parent.with_name("numpy.libs").glob("*openblas*"))
    if not paths:
        pytest.skip("this NumPy carries no OpenBLAS")
    library = ctypes.CDLL(str(paths[0]))
    names = ("openblas_get_num_threads64_", "scipy_openblas_get_num_threads64_")
    count = next(getattr(library, name) for name in names if hasattr(library, name))
    before = count()
    for threads in (2, 1):
        assert set_threads(threads)
        assert count() == threads
    assert can_set_threads()
    set_threads(before)


def test_without_openblas_threads_are_asked_for_in_vain(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blas, "SETTERS", ())
    assert (set_threads(2), can_set_threads()) == (False, False)
    limits = {"max_batch_size": 1, "max_num_tokens": 8, "max_seq_len": 8}
    with pytest.warns(RuntimeWarning, match=r"^engine\.threads is 2, but NumPy's BLAS reads"):
        CpuEngine.load(tiny_folder, **limits, threads=2).close()
    CpuEngine.load(tiny_folder, **limits, threads=1).close()

"""Setting BLAS threads while the process runs."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import pytest

from toolkit.engine.runtime.cpu.blas import set_threads


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
    set_threads(before)

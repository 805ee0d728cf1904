"""The number of BLAS threads, set while the process runs.

Environment variables act only before NumPy is imported, so the OpenBLAS that NumPy's wheels carry is asked directly.
A NumPy built on another BLAS keeps the thread count of its own environment variable (``MKL_NUM_THREADS``, …).
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np

SETTERS = (
    "openblas_set_num_threads64_",
    "scipy_openblas_set_num_threads64_",
    "openblas_set_num_threads",
    "scipy_openblas_set_num_threads",
)


def set_threads(threads: int) -> bool:
    """Whether an OpenBLAS was found and told; the setting is the process's, not one engine's."""
    if (setter := _setter()) is None:
        return False
    setter(ctypes.c_int(threads))
    return True


def can_set_threads() -> bool:
    """Whether ``set_threads`` has an effect here."""
    return _setter() is not None


def _setter() -> Any:
    package = Path(np.__file__).parent
    for folder in (package.with_name("numpy.libs"), package / ".dylibs", package / ".libs"):
        for path in sorted(folder.glob("*openblas*")):
            library = ctypes.CDLL(str(path))
            for name in SETTERS:
                if hasattr(library, name):
                    return getattr(library, name)
    return None

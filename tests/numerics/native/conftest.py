from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.numerics.native import cases
from toolkit.numerics.native import build


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The kernels of this checkout's source, made now."""
    if build.find_compiler() is None:
        pytest.skip("no C compiler")
    return build.build(tmp_path_factory.mktemp("kernels") / build.LIBRARY.name)


@pytest.fixture
def kernels(compiled: Path) -> Iterator[Path]:
    """In use during the test."""
    before = build.LIBRARY
    cases.load(compiled)
    yield compiled
    cases.load(before)

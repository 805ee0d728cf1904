"""Wheels with and without compiled kernels, as the build hook makes them."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from toolkit.numerics.native import build

LIBRARY = f"toolkit/numerics/native/{build.LIBRARY.name}"


def hatchling(root: Path, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    clean = {key: value for key, value in os.environ.items() if key not in ("CC", "TRTKIT_WHEEL_PLATFORM")}
    return subprocess.run(command, cwd=root, env=clean | environment, capture_output=True, text=True, check=False)


def only_wheel(folder: Path) -> tuple[str, bool, str]:
    """Its name's tags, whether it holds a library, and what its metadata says of itself."""
    [wheel] = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        [metadata] = [name for name in archive.namelist() if name.endswith(".dist-info/WHEEL")]
        return wheel.stem.split("-", 2)[2], LIBRARY in archive.namelist(), archive.read(metadata).decode()


def test_with_a_compiler_one_wheel_serves_every_python(root: Path, tmp_path: Path) -> None:
    if build.find_compiler() is None:
        pytest.skip("no C compiler")
    done = hatchling(root, tmp_path, TRTKIT_WHEEL_PLATFORM="manylinux_2_17_x86_64")
    assert done.returncode == 0, done.stderr
    tags, has_library, metadata = only_wheel(tmp_path)
    assert (tags, has_library) == ("py3-none-manylinux_2_17_x86_64", True)
    assert "Root-Is-Purelib: false" in metadata
    assert "Tag: py3-none-manylinux_2_17_x86_64" in metadata


@pytest.mark.parametrize(
    ("environment", "warning"),
    [
        ({"CC": "/nowhere/cc"}, "the codecs will run on NumPy: /nowhere/cc: No such file or directory"),
        ({"TRTKIT_WHEEL_PLATFORM": "any"}, ""),
    ],
)
def test_the_pure_wheel(root: Path, tmp_path: Path, environment: dict[str, str], warning: str) -> None:
    done = hatchling(root, tmp_path, **environment)
    assert done.returncode == 0, done.stderr
    assert warning in done.stdout + done.stderr
    tags, has_library, metadata = only_wheel(tmp_path)
    assert (tags, has_library) == ("py3-none-any", False)
    assert "Root-Is-Purelib: true" in metadata


def test_a_wheel_for_a_platform_is_not_made_without_its_kernels(root: Path, tmp_path: Path) -> None:
    done = hatchling(root, tmp_path, CC="/nowhere/cc", TRTKIT_WHEEL_PLATFORM="manylinux_2_17_aarch64")
    assert done.returncode != 0
    assert "/nowhere/cc: No such file or directory" in done.stderr
    assert list(tmp_path.glob("*.whl")) == []

"""All kernels on all instruction sets against NumPy, in this process, under the sanitizers and on another processor."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.numerics.native import cases
from toolkit.numerics import backend
from toolkit.numerics.native import build, sha256
from toolkit.numerics.native.library import BEST_FIRST

SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-O1")
HERE = Path(__file__).parent


@pytest.mark.parametrize("isa", [isa.name.lower() for isa in BEST_FIRST])
@pytest.mark.parametrize("case", cases.CASES)
def test_as_numpy_bit_for_bit(kernels: Path, case: str, isa: str) -> None:
    if isa not in backend.available():
        pytest.skip(f"this CPU has no {isa}")
    assert cases.check(case, isa) > 0


def test_a_difference_in_one_bit_is_noticed() -> None:
    zeros = np.zeros(3, np.float32)
    with pytest.raises(AssertionError):
        cases.assert_same(-zeros, zeros, "here")
    with pytest.raises(AssertionError):
        cases.assert_same(zeros.astype(np.uint16), zeros.astype(np.uint8), "here")
    with pytest.raises(AssertionError):
        cases.assert_same(1.0 + 1e-11, 1.0, "here")


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A library with both sanitizers, and the environment in which Python can load it."""
    compiler = build.find_compiler()
    if compiler is None:
        pytest.skip("no C compiler")
    asked = subprocess.run([*compiler, "-print-file-name=libasan.so"], capture_output=True, text=True, check=False)
    runtime = Path(asked.stdout.strip())
    if not runtime.is_absolute():
        pytest.skip(f"{compiler[0]} has no address sanitizer that Python can preload")
    library = build.build(tmp_path_factory.mktemp("sanitized") / build.LIBRARY.name, SANITIZERS)
    options = {"LD_PRELOAD": str(runtime), "ASAN_OPTIONS": "detect_leaks=0", "PYTHONMALLOC": "malloc"}
    return library, {**os.environ, **options, "PYTHONPATH": str(HERE.parents[2])}


def run_cases(sanitized: tuple[Path, dict[str, str]], *argv: str) -> subprocess.CompletedProcess[str]:
    library, environment = sanitized
    command = [sys.executable, "-m", "tests.numerics.native.cases", str(library), *argv]
    return subprocess.run(command, cwd=HERE.parents[2], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.timeout(600)
def test_the_sanitizers_find_nothing(sanitized: tuple[Path, dict[str, str]], kernels: Path) -> None:
    done = run_cases(sanitized)
    assert (done.returncode, done.stderr) == (0, "")
    ran = [line.split()[:2] for line in done.stdout.splitlines()]
    assert ran == [[isa, case] for isa in backend.available() for case in cases.CASES]


@pytest.mark.parametrize("kernel", ["decode", "sha256"])
def test_the_sanitizers_would_find_something(
    sanitized: tuple[Path, dict[str, str]], kernels: Path, kernel: str
) -> None:
    codecs = backend.codecs()
    if kernel == "sha256" and not (codecs and sha256.supported(codecs.library)):
        pytest.skip("this CPU has no SHA instructions")
    done = run_cases(sanitized, "--overrun", kernel)
    assert done.returncode != 0
    assert "AddressSanitizer: heap-buffer-overflow" in done.stderr


def compare(compiler: list[str], program: Path, *launcher: str) -> str:
    source = HERE / "compare.c"
    flags = ("-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", f"-I{build.FOLDER}")
    subprocess.run([*compiler, *flags, "-o", str(program), str(source)], check=True, capture_output=True)
    return subprocess.run([*launcher, str(program)], capture_output=True, text=True, check=False).stdout


def test_neon_as_plain_c_on_an_emulated_processor(tmp_path: Path) -> None:
    compiler, emulator = shutil.which("aarch64-linux-gnu-gcc"), shutil.which("qemu-aarch64")
    if compiler is None or emulator is None:
        pytest.skip("needs aarch64-linux-gnu-gcc and qemu-aarch64")
    assert compare([compiler, "-static"], tmp_path / "compare", emulator) == "1 instruction sets, 0 differences\n"


def test_simd_as_plain_c_here(tmp_path: Path, kernels: Path) -> None:
    compiler, sets = build.find_compiler(), len(backend.available()) - 1
    assert compiler is not None
    assert compare(compiler, tmp_path / "compare") == f"{sets} instruction sets, 0 differences\n"


def test_block_scales_that_have_no_mxfp4(kernels: Path) -> None:
    native = backend.codecs()
    assert native is not None
    tables = cases.tables_for(1.0)
    blocks, scales = np.zeros((1, 16), np.uint8), np.zeros(1, np.uint8)
    with pytest.raises(ValueError, match="NaN or negative"):
        cases.transcode_blocks(blocks, np.array([[0x38, 0x7F]], np.uint8), tables, blocks, scales)

"""What every instruction set of the kernels must do as NumPy does, bit for bit.

Also a program, for the sanitizers: ``python -m tests.numerics.native.cases LIBRARY`` runs all cases on all sets.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.engine.sha256 import HashlibDigests
from toolkit.numerics import backend, e2m1, mxfp4, nvfp4
from toolkit.numerics.cast import mxfp4_to_nvfp4
from toolkit.numerics.native import build, codecs, sha256
from toolkit.numerics.transcode import nvfp4_to_mxfp4, tables_for, transcode_blocks

GLOBAL_SCALES = (0.37 / 2688, 1.0, 0.0, 1e-41, 2.0**-149, 1e36, 3e38, float("inf"), float("nan"), -0.5)
Result = tuple[Any, ...]


@contextmanager
def using(name: str) -> Iterator[None]:
    """With the backend that ``TRTKIT_NATIVE`` calls ``name``."""
    before = os.environ.get(backend.VARIABLE)
    os.environ[backend.VARIABLE] = name
    try:
        yield
    finally:
        if before is None:
            del os.environ[backend.VARIABLE]
        else:
            os.environ[backend.VARIABLE] = before


def load(path: Path) -> None:
    """From now on the kernels are those of this library."""
    build.LIBRARY = path
    backend._loaded.cache_clear()
    backend._chosen.cache_clear()


def unaligned(array: np.ndarray) -> np.ndarray:
    """The same values, at an address that is a multiple of the item's size and of nothing more."""
    memory = np.empty(array.size + 1, array.dtype)
    moved = memory[1:].reshape(array.shape)
    moved[...] = array
    return moved


def random_bytes(seed: int, *shape: int, below: int = 256) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, below, shape, dtype=np.uint8)


def decode(packed: np.ndarray, scale: np.ndarray, global_scale: float, axis: Any) -> Result:
    with np.errstate(all="ignore"):
        results = [nvfp4.dequantize(packed, scale, global_scale, axis=axis, dtype=d) for d in ("float32", "bfloat16")]
        for result in list(results):
            out = unaligned(np.zeros_like(result))
            dtype: Any = "float32" if result.dtype == np.float32 else "bfloat16"
            results.append(nvfp4.dequantize(packed, scale, global_scale, axis=axis, out=out, dtype=dtype))
    return tuple(results)


def decode_everything() -> Iterator[Result]:
    """Every scale byte over every packed byte, in rows and columns, under ordinary and extreme global scales."""
    packed = np.tile(np.arange(256, dtype=np.uint8), (256, 1))
    scale = np.arange(256, dtype=np.uint8)[:, None].repeat(32, axis=1)
    by_columns = [np.ascontiguousarray(a.T) for a in (packed, scale)]
    for global_scale in GLOBAL_SCALES:
        yield decode(packed, scale, global_scale, -1)
        yield decode(by_columns[0], by_columns[1], global_scale, -2)


def decode_sizes() -> Iterator[Result]:
    for blocks in (*range(20), 31, 33, 130):
        packed, scale = random_bytes(1, 8 * blocks), random_bytes(2, blocks)
        yield decode(unaligned(packed), unaligned(scale), 0.01, -1)
    for columns in (*range(20), 31, 32, 33, 63, 64, 65, 127, 129, 200):
        packed, scale = random_bytes(3, 2, 24, columns), random_bytes(4, 2, 3, columns)
        yield decode(unaligned(packed), unaligned(scale), 0.01, -2)


def decode_past_the_cache() -> Iterator[Result]:
    """Outputs so large that they are streamed, with edges."""
    packed, scale = random_bytes(5, 8 * 300_001), random_bytes(6, 300_001)
    yield decode(packed, scale, 0.01, -1)
    for columns in (1024, 1028):
        yield decode(random_bytes(7, 4096, columns), random_bytes(8, 512, columns), 0.01, -2)


def decode_mxfp4() -> Iterator[Result]:
    for blocks in (0, 1, 3, 257):
        scales = np.resize(np.arange(256, dtype=np.uint8), blocks)
        packed = random_bytes(9, blocks, 16)
        yield tuple(mxfp4.dequantize(packed, scales, dtype) for dtype in ("float32", "bfloat16"))
    codes = e2m1.pack(np.tile(np.arange(16, dtype=np.uint8), (256, 2)))
    yield mxfp4.dequantize(codes, np.arange(256, dtype=np.uint8)), mxfp4.dequantize(codes[:1], scales[:1])


def encode(values_BK: np.ndarray, global_scale: float) -> Result:
    """Blocks in rows, and the same as columns."""
    with np.errstate(all="ignore"):
        rows = nvfp4.quantize(values_BK, global_scale=global_scale)
        columns = nvfp4.quantize(unaligned(values_BK.T), axis=-2, global_scale=global_scale)
    return (*rows[:2], *columns[:2])


def encode_every_largest() -> Iterator[Result]:
    """Each of the 32768 magnitudes, NaN among them, as the largest of a block, with random ones below it."""
    rng = np.random.default_rng(10)
    largest = np.arange(1 << 15, dtype=np.uint16)
    below = rng.integers(0, 640, (1 << 15, 16))
    magnitude = np.maximum(largest[:, None].astype(int) - below, 0).astype(np.uint16)
    magnitude[np.arange(1 << 15), rng.integers(0, 16, 1 << 15)] = largest
    values = magnitude | rng.integers(0, 2, magnitude.shape).astype(np.uint16) << np.uint16(15)
    for global_scale in GLOBAL_SCALES:
        yield encode(values, global_scale)


def encode_every_value() -> Iterator[Result]:
    """Each magnitude up to the largest under each scale byte: all ties, all values between them, both zeros."""
    for byte in (1, 2, 7, 8, 0x35, 0x38, 0x3D, 0x7E):
        top = np.float32(6 * scale_value(byte))
        bits = int(np.array(top).view(np.uint32) >> np.uint32(16))
        values = np.zeros(-(-2 * (bits + 1) // 15) * 15, np.uint16)
        magnitudes = np.arange(bits + 1, dtype=np.uint16)
        values[: 2 * (bits + 1)] = np.concatenate([magnitudes, magnitudes | np.uint16(0x8000)])
        blocks = np.concatenate([np.full((values.size // 15, 1), bits, np.uint16), values.reshape(-1, 15)], axis=1)
        yield encode(blocks, 1.0)


def scale_value(byte: int) -> float:
    exponent, mantissa = byte >> 3, byte & 7
    return mantissa * 2.0**-9 if exponent == 0 else (8 + mantissa) * 2.0 ** (exponent - 10)


def encode_special() -> Iterator[Result]:
    """Zeros of both signs, infinities, NaN, subnormal numbers and blocks too small for a scale, beside each other."""
    special = np.array([0, 0x8000, 1, 0x8001, 0x7F, 0x80, 0x7F80, 0xFF80, 0x7FC0, 0xFFC0, 0x7F81, 0x3F80, 0xBF80])
    values = np.random.default_rng(11).choice(special, (999, 16)).astype(np.uint16)
    values[:13] = special[:, None]
    values[13:400] = np.where(values[13:400] & 0x7FFF > 0x80, 0, values[13:400])
    for global_scale in GLOBAL_SCALES:
        yield encode(values, global_scale)


def encode_sizes() -> Iterator[Result]:
    for blocks in (*range(0, 40), 127, 128, 129, 255, 256, 257, 300, 520):
        values = np.random.default_rng(blocks).integers(0, 1 << 16, (blocks, 16)).astype(np.uint16)
        yield encode(unaligned(values & np.uint16(0xBFFF)), 0.001)


def transcode(packed: np.ndarray, scale: np.ndarray, scale_2: float, axis: Any) -> Result:
    result = nvfp4_to_mxfp4(packed, scale, scale_2, axis=axis)
    report = result.report
    return result.blocks, result.scales, report.blocks, report.exact_blocks, report.squared_error, report.squared_norm


def transcode_all() -> Iterator[Result]:
    """Every scale byte beside every other, and few codes so that both exponents win; near the ends of FP32, too."""
    scale = np.stack(np.indices((0x7F, 0x7F)), axis=-1).reshape(-1, 2).astype(np.uint8)
    packed = random_bytes(12, len(scale), 16)
    packed[::3] &= 0x33
    packed[::5] &= 0x99
    for scale_2 in (2.0**-12, 0.37 / 2688, 1.7e30, 2.5e-36, 1e-38, 6e-42, 2.0**-149):
        yield transcode(packed, scale, scale_2, -1)
        blocks, scales = np.empty_like(packed), np.empty(len(packed), np.uint8)
        yield transcode_blocks(packed, scale, tables_for(scale_2), blocks, scales).blocks, blocks, scales


def transcode_sizes() -> Iterator[Result]:
    for experts, rows, count in (
        (1, 0, 2),
        (0, 5, 1),
        (1, 1, 1),
        (3, 15, 2),
        (2, 16, 5),
        (2, 63, 1),
        (1, 64, 3),
        (2, 131, 34),
    ):
        packed = random_bytes(13, experts, 16 * count, rows)
        scale = np.clip(random_bytes(14, experts, 2 * count, rows, below=20) + 40, 0, 0x7E).astype(np.uint8)
        yield transcode(unaligned(packed), unaligned(scale), 0.01, -2)
        yield transcode(packed.swapaxes(1, 2), scale.swapaxes(1, 2), 0.01, -1)


def cast_all() -> Iterator[Result]:
    """All scales in range, then blocks up to 40 powers of two too small; odd numbers of rows and blocks."""
    shapes = ((1, 0, 2), (0, 5, 1), (1, 1, 1), (3, 15, 2), (2, 16, 5), (2, 63, 1), (1, 64, 3), (2, 131, 34))
    for experts, rows, count in shapes:
        for least in (0, 110, 87):
            blocks = random_bytes(15, experts, rows, count, 16)
            scales = np.random.default_rng(16).integers(least, 128, (experts, rows, count)).astype(np.uint8)
            result = mxfp4_to_nvfp4(unaligned(blocks), unaligned(scales))
            report = result.report
            counts = (report.blocks, report.exact_blocks, report.out_of_range)
            yield result.packed, result.scale, result.scale_2, *counts, report.squared_error, report.squared_norm


def transpose_sizes() -> Iterator[Result]:
    for rows in (0, 1, 15, 16, 17, 48, 70):
        for columns in (0, 1, 16, 31, 32, 33, 64, 65, 200):
            matrix = random_bytes(17, rows, columns + 3)[:, 1 : columns + 1]
            native = backend.codecs()
            out = np.zeros((columns, rows + 5), np.uint8)
            if native is None:
                out[:, 2 : rows + 2] = matrix.T
            else:
                native.transpose(matrix, out[:, 2 : rows + 2])
            yield (out,)


def threads() -> Iterator[Result]:
    """More threads than units, and units that do not divide."""
    for count in (2, 3, 7):
        backend.set_threads(count)
        try:
            packed, scale = random_bytes(18, 3, 808, 333), random_bytes(19, 3, 101, 333, below=0x7F)
            yield decode(packed, scale, 0.01, -2)
            yield decode(packed.reshape(-1, 808), scale.reshape(-1, 101), 0.01, -1)
            values = np.random.default_rng(20).integers(0x3000, 0x4000, (70_003, 16)).astype(np.uint16)
            yield encode(values, 0.01)
            yield transcode(packed[:, :800], scale[:, :100], 0.01, -2)
            blocks = random_bytes(21, 3, 333, 50, 16)
            result = mxfp4_to_nvfp4(blocks, random_bytes(22, 3, 333, 50, below=120))
            yield result.packed, result.scale, result.report.exact_blocks, result.report.squared_norm
        finally:
            backend.set_threads(1)


def sha256_pieces() -> Iterator[Result]:
    """Two streams in pieces of all lengths around a block, each piece at the end of its own memory."""
    rng = np.random.default_rng(23)
    plans = [[(size, 131 - size), (0, size)] for size in range(132)]
    plans += [[(int(one), int(other)) for one, other in rng.integers(0, 400, (8, 2))] for _ in range(20)]
    for plan in [*plans, [(1 << 16, 1 << 16), (7, 0), (100_001, 1 << 15), (0, 63)]]:
        codecs = backend.codecs()
        native = codecs is not None and sha256.supported(codecs.library)
        digests = sha256.NativeDigests(codecs.library) if codecs is not None and native else HashlibDigests()
        for sizes in plan:
            digests.update(*(rng.integers(0, 256, size, np.uint8) for size in sizes))
        yield tuple(np.frombuffer(bytes.fromhex(digest), np.uint8) for digest in digests.hexdigests())


CASES: dict[str, Callable[[], Iterator[Result]]] = {
    case.__name__: case
    for case in (
        decode_everything,
        decode_sizes,
        decode_past_the_cache,
        decode_mxfp4,
        encode_every_largest,
        encode_every_value,
        encode_special,
        encode_sizes,
        transcode_all,
        transcode_sizes,
        cast_all,
        transpose_sizes,
        threads,
        sha256_pieces,
    )
}


def check(case: str, isa: str) -> int:
    """Compare ``isa`` with NumPy; the number of results compared."""
    with using("off"):
        expected = list(CASES[case]())
    with using(isa):
        assert backend.name() == f"c {isa}"
        actual = list(CASES[case]())
    assert len(actual) == len(expected)
    for number, (ours, theirs) in enumerate(zip(actual, expected, strict=True)):
        for a, b in zip(ours, theirs, strict=True):
            assert_same(a, b, f"{case} on {isa}, result {number}")
    return len(actual)


def assert_same(actual: Any, expected: Any, where: str) -> None:
    """Arrays bit for bit, NaN included; sums of float64 to their last digits, for their order is free."""
    if isinstance(expected, float):
        np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=0, err_msg=where)
    else:
        assert np.asarray(actual).dtype == np.asarray(expected).dtype, where
        np.testing.assert_array_equal(bits(actual), bits(expected), err_msg=where)


def bits(value: Any) -> np.ndarray:
    array = np.ascontiguousarray(value)
    return array.view(f"u{array.itemsize}") if array.dtype.kind == "f" else array


def overrun(kernel: str) -> None:
    """One column or one byte more than there is: what a sanitizer must notice."""
    native = backend.codecs()
    assert native is not None
    if kernel == "sha256":
        memory = random_bytes(1, 64 * 3)
        longer = np.lib.stride_tricks.as_strided(memory, (memory.size + 1,))
        sha256.NativeDigests(native.library).update(longer, memory[:0])
        return
    packed, scale = random_bytes(1, 8, 33), random_bytes(2, 1, 33)
    planes, out = np.zeros((256, 2, 16), np.uint8), np.empty((16, 33), np.uint16)
    at = [codecs._at(array) for array in (packed, scale, planes, out)]
    native.library.trtkit_decode_columns_bf16(native.isa, *at[:3], 65, 0, 1, at[3])


def main() -> None:
    load(Path(sys.argv[1]))
    if sys.argv[2:3] == ["--overrun"]:
        overrun(sys.argv[3])
        return
    for isa in backend.available():
        for case in CASES:
            print(isa, case, check(case, isa), flush=True)


if __name__ == "__main__":
    main()

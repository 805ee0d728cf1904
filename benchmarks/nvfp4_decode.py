"""NVFP4 decode against NVIDIA ModelOpt's own ``NVFP4QTensor.dequantize``: same tensor, one thread, interleaved.

Needs torch and nvidia-modelopt 0.37.0 (extra ``quantize``). From the checkout:

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 PYTHONPATH=. python benchmarks/nvfp4_decode.py

Each case is decoded by both in turn, ``--repeats`` times; medians are compared, and the results must be equal bit for
bit. Fused experts are stored [E, K/2, out]; ModelOpt decodes the transposed [E, out, K/2], so each side runs on the
orientation that it reads. "new" allocates the result, as ModelOpt always does; "reuse" writes into memory that is there
already (``out=``); "copy" is a plain copy of the result into such memory. Ratios are ModelOpt's time over "new" and
over "reuse". GB/s are bytes of output. A card is printed, then one JSON line.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

import modelopt.torch.quantization  # noqa: F401  (its submodules import each other in this order only)
import numpy as np
import torch
from machine import processor, versions
from modelopt.torch.quantization.qtensor import NVFP4QTensor

from toolkit.numerics import nvfp4

GLOBAL_SCALE = 0.37 / 2688  # of a tensor whose largest weight is 0.37


@dataclass(frozen=True)
class Case:
    """``packed`` is the stored shape; ``axis`` its packed axis."""

    name: str
    packed: tuple[int, ...]
    axis: Literal[-1, -2]


@dataclass(frozen=True)
class Result:
    """Medians in milliseconds of one call."""

    case: str
    dtype: str
    values: int
    new_ms: float
    reuse_ms: float
    modelopt_ms: float
    copy_ms: float
    ratio_new: float
    ratio_reuse: float
    bit_exact: bool

    def rate(self, milliseconds: float) -> float:
        """GB/s of output."""
        return self.values * (4 if self.dtype == "float32" else 2) / milliseconds / 1e6


CASES = (
    Case("Linear 4096 x 8192", (4096, 4096), -1),
    Case("4 fused experts 2880 x 5760", (4, 1440, 5760), -2),
)


def tensors(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """All 256 packed bytes and every legal scale byte (0x00 to 0x7E), uniformly."""
    rng = np.random.default_rng(20240229)
    scale_shape = list(case.packed)
    scale_shape[case.axis] //= 8
    return (
        rng.integers(0, 256, case.packed, dtype=np.uint8),
        rng.integers(0, 0x7F, scale_shape, dtype=np.uint8),
    )


def modelopt_decoder(packed: np.ndarray, scale: np.ndarray, dtype: torch.dtype) -> Callable[[], torch.Tensor]:
    """``packed`` and ``scale`` have K last."""
    shape = (*packed.shape[:-1], packed.shape[-1] * 2)
    tensor = NVFP4QTensor(torch.Size(shape), dtype, torch.from_numpy(packed))
    arguments = {
        "scale": torch.from_numpy(scale).view(torch.float8_e4m3fn),
        "double_scale": torch.tensor(GLOBAL_SCALE, dtype=torch.float32),
        "block_sizes": {-1: 16},
    }
    return lambda: tensor.dequantize(dtype=dtype, **arguments)


def seconds(work: Callable[[], Any]) -> float:
    """Time of one call; its result is freed outside the clock."""
    begin = time.perf_counter()
    result = work()
    elapsed = time.perf_counter() - begin
    del result
    return elapsed


def measure(case: Case, dtype: Literal["float32", "bfloat16"], repeats: int) -> Result:
    packed, scale = tensors(case)
    k_last = [np.ascontiguousarray(a.swapaxes(-1, -2)) if case.axis == -2 else a for a in (packed, scale)]
    theirs = modelopt_decoder(*k_last, getattr(torch, dtype))
    ours = partial(nvfp4.dequantize, packed, scale, GLOBAL_SCALE, axis=case.axis, dtype=dtype)
    decoded = ours()  # warms up, and is compared
    memory = decoded.copy()
    exact = equal_bits(decoded, theirs(), case.axis)
    runs = {
        "new": ours,
        "modelopt": theirs,
        "reuse": partial(ours, out=memory),
        "copy": partial(np.copyto, memory, decoded),
    }
    times: dict[str, list[float]] = {key: [] for key in runs}
    for _ in range(repeats):
        for key, run in runs.items():
            times[key].append(seconds(run))
    median = {key: statistics.median(values) * 1e3 for key, values in times.items()}
    return Result(
        case=case.name,
        dtype=dtype,
        values=decoded.size,
        new_ms=round(median["new"], 2),
        reuse_ms=round(median["reuse"], 2),
        modelopt_ms=round(median["modelopt"], 2),
        copy_ms=round(median["copy"], 2),
        ratio_new=round(median["modelopt"] / median["new"], 2),
        ratio_reuse=round(median["modelopt"] / median["reuse"], 2),
        bit_exact=exact,
    )


def equal_bits(ours: np.ndarray, theirs: torch.Tensor, axis: int) -> bool:
    unsigned = np.uint32 if ours.itemsize == 4 else np.uint16
    bits = theirs.view(torch.int32 if ours.itemsize == 4 else torch.int16).numpy().view(unsigned)
    return np.array_equal(ours.view(unsigned), bits.swapaxes(-1, -2) if axis == -2 else bits)


def line(row: Result) -> str:
    times = (row.new_ms, row.reuse_ms, row.modelopt_ms, row.copy_ms)
    columns = "".join(f"{ms:9.1f} {row.rate(ms):5.2f}" for ms in times)
    bits = "equal" if row.bit_exact else "DIFFER"
    return f"{row.case:<28} {row.dtype:<8}{columns} {row.ratio_new:8.1f} {row.ratio_reuse:6.1f}  {bits}"


def main() -> int:
    parser = argparse.ArgumentParser(description="NVFP4 decode against ModelOpt, one thread")
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    environment = {
        "processor": processor(),
        "threads": 1,
        "repeats": repeats,
        **versions("numpy", "torch", "nvidia-modelopt"),
    }
    print(f"NVFP4 decode, one thread, CPU: {environment['processor']}, medians of {repeats}")
    print("  ".join(f"{key} {environment[key]}" for key in ("python", "numpy", "torch", "nvidia-modelopt")))
    heads = "".join(f"{name:>9}  GB/s" for name in ("new", "reuse", "ModelOpt", "copy"))
    print(f"\n{'ms and GB/s of output':<37}{heads}    / new /reuse  bits")
    results = []
    for case in CASES:
        for dtype in ("float32", "bfloat16"):
            row = measure(case, dtype, repeats)
            results.append(row)
            print(line(row))
    print()
    print(
        json.dumps({"benchmark": "nvfp4_decode", "environment": environment, "results": [asdict(r) for r in results]})
    )
    return 0 if all(row.bit_exact for row in results) else 1


if __name__ == "__main__":
    sys.exit(main())

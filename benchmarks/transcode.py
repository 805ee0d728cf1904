"""NVFP4 → MXFP4 and MXFP4 → NVFP4 against decoding to full precision and encoding again: same tensor, one thread.

Against trtkit's own codecs always, and against NVIDIA ModelOpt's ``NVFP4QTensor`` and ``MXFP4QTensor`` where torch and
nvidia-modelopt 0.37.0 are installed (extra ``quantize``). From the checkout:

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 PYTHONPATH=. python benchmarks/transcode.py

The tensor is one expert of gpt-oss-120b's gate_up_proj (K 2880, N 5760), quantised from normal random weights; the
sides run in turn, ``--repeats`` times, and medians are compared. GB/s are bytes of BF16 that the tensor stands for;
"copy" is a plain copy of the result's bytes. ModelOpt works on [N, K/2] and through BF16; the codecs read and write the
stored orientation and go through FP32. The errors are compared with those of the codecs: the transcode's may be no
larger, and the cast's must be zero. A card is printed, then one JSON line.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
from machine import processor, versions

from toolkit.numerics import mxfp4, nvfp4
from toolkit.numerics.cast import mxfp4_to_nvfp4
from toolkit.numerics.transcode import nvfp4_to_mxfp4

K, N = 2880, 5760
MODELOPT = find_spec("torch") is not None and find_spec("modelopt") is not None


@dataclass(frozen=True)
class Result:
    """Medians in milliseconds of one call; the relative RMS errors are of the result against the source's values."""

    case: str
    values: int
    milliseconds: dict[str, float]
    ratio: dict[str, float]
    relative_rms: dict[str, float]

    @property
    def sound(self) -> bool:
        ours = self.relative_rms["trtkit"]
        return ours == 0 if self.case == "MXFP4 to NVFP4" else ours <= self.relative_rms["codecs"]


def weights() -> np.ndarray:
    """[K, N]: normal, with a spread of a few powers of two between the blocks."""
    rng = np.random.default_rng(20240229)
    return (rng.standard_normal((K, N)) * np.exp2(rng.normal(-6, 1, (K // 32, N)).repeat(32, axis=0))).astype(
        np.float32
    )


def relative_rms(new: np.ndarray, old: np.ndarray) -> float:
    return float(np.sqrt(np.square(new - old, dtype=np.float64).sum() / np.square(old, dtype=np.float64).sum()))


def transcode(repeats: int) -> Result:
    packed, scale, scale_2 = nvfp4.quantize(weights(), axis=-2)
    g = float(scale_2)
    old = nvfp4.dequantize(packed, scale, g, axis=-2).T

    def codecs() -> tuple[np.ndarray, np.ndarray]:
        return mxfp4.quantize(np.ascontiguousarray(nvfp4.dequantize(packed, scale, g, axis=-2).T))

    result = nvfp4_to_mxfp4(packed, scale, g, axis=-2)
    errors = {"trtkit": result.report.relative_rms, "codecs": relative_rms(mxfp4.dequantize(*codecs()), old)}
    sides: dict[str, Callable[[], Any]] = {
        "trtkit": lambda: nvfp4_to_mxfp4(packed, scale, g, axis=-2),
        "codecs": codecs,
    }
    if MODELOPT:
        sides["ModelOpt"] = modelopt_transcode(packed, scale, g)
    return timed("NVFP4 to MXFP4", sides, (result.blocks, result.scales), errors, repeats)


def cast(repeats: int) -> Result:
    blocks, scales = mxfp4.quantize(np.ascontiguousarray(weights().T))
    old = mxfp4.dequantize(blocks, scales)

    def codecs() -> tuple[Any, ...]:
        return nvfp4.quantize(np.ascontiguousarray(mxfp4.dequantize(blocks, scales).T), axis=-2)

    result = mxfp4_to_nvfp4(blocks, scales)
    packed, scale, g = codecs()
    ours = nvfp4.dequantize(result.packed, result.scale, result.scale_2, axis=-2).T
    theirs = nvfp4.dequantize(packed, scale, float(g), axis=-2).T
    errors = {"trtkit": relative_rms(ours, old), "codecs": relative_rms(theirs, old)}
    sides: dict[str, Callable[[], Any]] = {"trtkit": lambda: mxfp4_to_nvfp4(blocks, scales), "codecs": codecs}
    if MODELOPT:
        sides["ModelOpt"] = modelopt_cast(blocks, scales)
    return timed("MXFP4 to NVFP4", sides, (result.packed, result.scale), errors, repeats)


def modelopt_transcode(packed: np.ndarray, scale: np.ndarray, scale_2: float) -> Callable[[], Any]:
    import torch
    from modelopt.torch.quantization.qtensor import MXFP4QTensor, NVFP4QTensor

    tensor = NVFP4QTensor(torch.Size((N, K)), torch.bfloat16, torch.from_numpy(np.ascontiguousarray(packed.T)))
    arguments = {
        "scale": torch.from_numpy(np.ascontiguousarray(scale.T)).view(torch.float8_e4m3fn),
        "double_scale": torch.tensor(scale_2, dtype=torch.float32),
        "block_sizes": {-1: nvfp4.BLOCK},
    }
    return lambda: MXFP4QTensor.quantize(tensor.dequantize(dtype=torch.bfloat16, **arguments), mxfp4.BLOCK)


def modelopt_cast(blocks: np.ndarray, scales: np.ndarray) -> Callable[[], Any]:
    import torch
    from modelopt.torch.quantization.qtensor import MXFP4QTensor, NVFP4QTensor

    tensor = MXFP4QTensor(torch.Size((N, K)), torch.bfloat16, torch.from_numpy(blocks.reshape(N, K // 2)))
    arguments = {"scale": torch.from_numpy(scales), "block_sizes": {-1: mxfp4.BLOCK}}
    return lambda: NVFP4QTensor.quantize(tensor.dequantize(dtype=torch.bfloat16, **arguments), nvfp4.BLOCK)


def timed(
    case: str,
    sides: dict[str, Callable[[], Any]],
    output: tuple[np.ndarray, ...],
    errors: dict[str, float],
    repeats: int,
) -> Result:
    memory = [array.copy() for array in output]
    work = {**sides, "copy": lambda: [np.copyto(*pair) for pair in zip(memory, output, strict=True)]}
    times: dict[str, list[float]] = {side: [] for side in work}
    for _ in range(repeats):
        for side, call in work.items():
            times[side].append(seconds(call))
    medians = {side: round(statistics.median(values) * 1e3, 2) for side, values in times.items()}
    ratio = {side: round(medians[side] / medians["trtkit"], 2) for side in medians if side != "trtkit"}
    return Result(case, K * N, medians, ratio, errors)


def seconds(work: Callable[[], Any]) -> float:
    """Time of one call; its result is freed outside the clock."""
    begin = time.perf_counter()
    result = work()
    elapsed = time.perf_counter() - begin
    del result
    return elapsed


def card(row: Result) -> str:
    lines = [f"{row.case}, K {K}, N {N}"]
    for side, ms in row.milliseconds.items():
        ratio = f"  {row.ratio[side]:7.2f} x trtkit" if side in row.ratio else ""
        error = f"  relative RMS {row.relative_rms[side]:.5f}" if side in row.relative_rms else ""
        lines.append(f"  {side:<9}{ms:9.1f} ms {2 * row.values / ms / 1e6:7.3f} GB/s{ratio}{error}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description="NVFP4 to MXFP4 and back against decode and encode, one thread")
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    packages = ("numpy", "torch", "nvidia-modelopt") if MODELOPT else ("numpy",)
    if MODELOPT:
        import modelopt.torch.quantization  # noqa: F401  (its submodules import each other in this order only)
        import torch
        from modelopt.torch.quantization.qtensor import nvfp4_tensor

        torch.set_num_threads(1)
        if not torch.cuda.is_available():
            nvfp4_tensor.fp4_compatible = lambda: False  # 0.37.0 asks for a GPU without looking whether there is one
    environment = {"processor": processor(), "threads": 1, "repeats": repeats, **versions(*packages)}
    print(f"FP4 to FP4, one thread, CPU: {environment['processor']}, medians of {repeats}")
    print("  ".join(f"{key} {environment[key]}" for key in ("python", *packages)) + "\n")
    results = [transcode(repeats), cast(repeats)]
    for row in results:
        print(card(row) + "\n")
    print(json.dumps({"benchmark": "transcode", "environment": environment, "results": [asdict(r) for r in results]}))
    return 0 if all(row.sound for row in results) else 1


if __name__ == "__main__":
    sys.exit(main())

"""The FP4 codecs against a copy of their output, against NumPy and against ModelOpt's QTensor classes: one thread.

From the checkout, after ``python -m toolkit.numerics.native.build``; ModelOpt is compared where torch and
nvidia-modelopt 0.37.0 are installed (extra ``quantize``):

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 PYTHONPATH=. python benchmarks/codecs.py

Two tensors: a Linear [4096, 4096], and four experts of gpt-oss-120b's gate_up_proj, [4, 2880, 5760] with K before the
last axis. ModelOpt reads K last, so it gets the transposed experts and is spared the transposition.

The sides run in turn in one process and medians are compared. "copy" copies the output into memory that is there
already (``np.copyto``, a memcpy); "reuse" writes the output into memory that is there already, "new" allocates it, as
ModelOpt always does; casts between the formats always allocate. BF16 to NVFP4 makes the tables of its global scale anew
in every run, as for another tensor. Results must equal NumPy's bit for bit, and ModelOpt's where both compute the same
function. ``--clock cpu`` takes the thread's CPU time, not wall time: other load on a shared machine then costs cache
and bandwidth, but no waiting. A table is printed, then one JSON line; the status is 1 if a result differs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec
from itertools import count
from typing import Any, Literal

import numpy as np
from machine import processor, versions

from toolkit.numerics import backend, bf16, mxfp4, nvfp4
from toolkit.numerics.cast import mxfp4_to_nvfp4
from toolkit.numerics.transcode import nvfp4_to_mxfp4

MODELOPT = find_spec("torch") is not None and find_spec("modelopt") is not None
SLOW = ("numpy", "ModelOpt")
Arrays = tuple[np.ndarray, ...]
Sides = dict[str, Callable[[], Any]]
Clock = Callable[[], float]
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.thread_time}


@dataclass(frozen=True)
class Tensor:
    """BF16 bits with K on ``axis``, and the same tensor in both FP4 formats."""

    name: str
    axis: Literal[-1, -2]
    values: np.ndarray
    packed: np.ndarray
    scale: np.ndarray
    scale_2: float
    blocks: np.ndarray
    scales: np.ndarray

    def k_last(self, array: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(array.swapaxes(-1, -2)) if self.axis == -2 else array


@dataclass(frozen=True)
class Case:
    """What one function makes, and how each side makes it; ``comparable`` if ModelOpt must make the same bytes."""

    name: str
    output: Arrays
    reuse: Callable[[Arrays], Any] | None
    new: Callable[[], Arrays]
    modelopt: Callable[[], Callable[[], Any]]
    comparable: bool


@dataclass(frozen=True)
class Result:
    """Medians in milliseconds; ``of_copy`` is the copy's time over ours, ``of_modelopt`` ModelOpt's."""

    tensor: str
    case: str
    backend: str
    output_bytes: int
    values: int
    milliseconds: dict[str, float]
    of_copy: float
    of_modelopt: float | None
    bit_exact: bool


def tensors() -> Iterator[Tensor]:
    rng = np.random.default_rng(20240229)
    for name, shape, axis in (("Linear 4096 x 4096", (4096, 4096), -1), ("4 experts 2880 x 5760", (4, 2880, 5760), -2)):
        spread = np.exp2(rng.normal(-6, 1, (*shape[:-1], 1))).astype(np.float32)
        values = bf16.from_f32(rng.standard_normal(shape, np.float32) * spread)
        packed, scale, scale_2 = nvfp4.quantize(values, axis=axis)
        result = nvfp4_to_mxfp4(packed, scale, float(scale_2), axis=axis)
        yield Tensor(name, axis, values, packed, scale, float(scale_2), result.blocks, result.scales)


def cases(t: Tensor) -> Iterator[Case]:
    scale_2s = (float(np.float32(t.scale_2 * (1 + 2.0**-20 * i))) for i in count())  # no table is used twice

    def decode(dtype: Any) -> Callable[..., Any]:
        return lambda out=None: (
            nvfp4.dequantize(t.packed, t.scale, t.scale_2, axis=t.axis, dtype=dtype, out=out and out[0]),
        )

    def cast() -> Arrays:
        result = mxfp4_to_nvfp4(t.blocks, t.scales)
        return result.packed, result.scale

    def transcode() -> Arrays:
        result = nvfp4_to_mxfp4(t.packed, t.scale, t.scale_2, axis=t.axis)
        return result.blocks, result.scales

    def encode(out: Any = None) -> Any:
        return nvfp4.quantize(t.values, axis=t.axis, global_scale=next(scale_2s), out=out)

    for dtype in ("bfloat16", "float32"):
        run = decode(dtype)
        yield Case(f"NVFP4 to {dtype}", run(), run, run, lambda dtype=dtype: modelopt_decode(t, dtype), True)
    encoded = nvfp4.quantize(t.values, axis=t.axis, global_scale=t.scale_2)[:2]
    yield Case("bfloat16 to NVFP4", encoded, encode, encode, lambda: modelopt_encode(t), True)
    yield Case("NVFP4 to MXFP4", transcode(), None, transcode, lambda: modelopt_transcode(t), False)
    yield Case("MXFP4 to NVFP4", cast(), None, cast, lambda: modelopt_cast(t), False)


def modelopt_nvfp4(t: Tensor, dtype: str) -> Callable[[], Any]:
    import torch
    from modelopt.torch.quantization.qtensor import NVFP4QTensor

    packed, scale = (torch.from_numpy(t.k_last(array)) for array in (t.packed, t.scale))
    target = getattr(torch, dtype)
    tensor = NVFP4QTensor(torch.Size((*packed.shape[:-1], 2 * packed.shape[-1])), target, packed)
    arguments = {
        "scale": scale.view(torch.float8_e4m3fn),
        "double_scale": torch.tensor(t.scale_2, dtype=torch.float32),
        "block_sizes": {-1: nvfp4.BLOCK},
    }
    return lambda: tensor.dequantize(dtype=target, **arguments)


def modelopt_decode(t: Tensor, dtype: str) -> Callable[[], Any]:
    import torch

    work = modelopt_nvfp4(t, dtype)
    bits = (torch.int16, np.uint16) if dtype == "bfloat16" else (torch.int32, np.uint32)
    view = np.float32 if dtype == "float32" else np.uint16
    return lambda: (work().view(bits[0]).numpy().view(bits[1]).view(view),)


def modelopt_encode(t: Tensor) -> Callable[[], Any]:
    import torch
    from modelopt.torch.quantization.qtensor import NVFP4QTensor

    values = torch.from_numpy(t.k_last(t.values).view(np.int16)).view(torch.bfloat16)
    scale_2 = torch.tensor(t.scale_2, dtype=torch.float32)

    def work() -> Arrays:
        tensor, scale, _ = NVFP4QTensor.quantize(values, nvfp4.BLOCK, weights_scaling_factor_2=scale_2)
        return tensor._quantized_data.numpy(), scale.view(torch.uint8).numpy()

    return work


def modelopt_transcode(t: Tensor) -> Callable[[], Any]:
    from modelopt.torch.quantization.qtensor import MXFP4QTensor

    decode = modelopt_nvfp4(t, "bfloat16")
    return lambda: MXFP4QTensor.quantize(decode(), mxfp4.BLOCK)


def modelopt_cast(t: Tensor) -> Callable[[], Any]:
    import torch
    from modelopt.torch.quantization.qtensor import MXFP4QTensor, NVFP4QTensor

    *lead, blocks, _ = t.blocks.shape
    packed = torch.from_numpy(t.blocks.reshape(*lead, 16 * blocks))
    tensor = MXFP4QTensor(torch.Size((*lead, 32 * blocks)), torch.bfloat16, packed)
    arguments = {"scale": torch.from_numpy(t.scales), "block_sizes": {-1: mxfp4.BLOCK}}
    return lambda: NVFP4QTensor.quantize(tensor.dequantize(dtype=torch.bfloat16, **arguments), nvfp4.BLOCK)


def with_backend(name: str, work: Callable[[], Any]) -> Callable[[], Any]:
    def run() -> Any:
        os.environ[backend.VARIABLE] = name
        try:
            return work()
        finally:
            del os.environ[backend.VARIABLE]

    return run


def same(ours: Arrays, theirs: Arrays) -> bool:
    return all(
        a.dtype == b.dtype and np.array_equal(bytes_of(a), bytes_of(b)) for a, b in zip(ours, theirs, strict=True)
    )


def bytes_of(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).view(np.uint8)


def measure(
    t: Tensor, case: Case, native: list[str], repeats: int, slow_repeats: int, clock: Clock
) -> Iterator[Result]:
    sides = sides_of(case, native)
    expected = with_backend("off", lambda: fixed(t, case))()
    exact = {name: same(with_backend(name, lambda: fixed(t, case))(), expected) for name in native}
    if MODELOPT:
        sides["ModelOpt"] = case.modelopt()
        if case.comparable:
            theirs = tuple(np.asarray(array) for array in sides["ModelOpt"]())
            agree = same(tuple(t.k_last(array) for array in case.output), theirs)
            exact = {name: value and agree for name, value in exact.items()}
            del theirs
    del expected
    medians = timed(sides, repeats, slow_repeats, clock)
    for name in native:
        own = medians[f"{name} reuse"] if case.reuse is not None else medians[f"{name} new"]
        yield Result(
            t.name,
            case.name,
            name,
            sum(array.nbytes for array in case.output),
            t.values.size,
            {side.removeprefix(f"{name} "): ms for side, ms in medians.items() if not other(side, name, native)},
            round(medians["copy"] / own, 3),
            round(medians["ModelOpt"] / own, 1) if MODELOPT else None,
            exact[name],
        )


def sides_of(case: Case, native: list[str]) -> Sides:
    memory = tuple(array.copy() for array in case.output)
    aligned = tuple(backend.empty(array.shape, array.dtype) for array in case.output)
    sides: Sides = {"copy": lambda: [np.copyto(*pair) for pair in zip(memory, case.output, strict=True)]}
    for name in native:
        sides[f"{name} new"] = with_backend(name, case.new)
        if case.reuse is not None:
            sides[f"{name} reuse"] = with_backend(name, partial(case.reuse, aligned))
    return sides | {"numpy": with_backend("off", case.new)}


def timed(sides: Sides, repeats: int, slow_repeats: int, clock: Clock) -> dict[str, float]:
    """Medians in milliseconds of the sides, run in turn."""
    times: dict[str, list[float]] = {side: [] for side in sides}
    for turn in range(repeats):
        for side, work in sides.items():
            if side not in SLOW or turn < slow_repeats:
                times[side].append(seconds(work, clock))
    return {side: round(statistics.median(values) * 1e3, 3) for side, values in times.items()}


def fixed(t: Tensor, case: Case) -> Arrays:
    """The case once, under the tensor's own global scale."""
    if case.name == "bfloat16 to NVFP4":
        return nvfp4.quantize(t.values, axis=t.axis, global_scale=t.scale_2)[:2]
    return case.new()


def other(side: str, name: str, native: list[str]) -> bool:
    return any(side.startswith(f"{each} ") for each in native if each != name)


def seconds(work: Callable[[], Any], clock: Clock) -> float:
    """Time of one call; its result is freed outside the clock."""
    begin = clock()
    result = work()
    elapsed = clock() - begin
    del result
    return elapsed


def line(row: Result) -> str:
    ms = row.milliseconds
    own = ms.get("reuse", ms["new"])
    rates = f"{row.output_bytes / own / 1e6:7.2f} {2 * row.values / own / 1e6:7.2f}"
    columns = "".join(
        f"{ms[side]:9.1f}" if side in ms else f"{'-':>9}" for side in ("reuse", "new", "copy", "numpy", "ModelOpt")
    )
    modelopt = "       -" if row.of_modelopt is None else f"{row.of_modelopt:8.1f}"
    bits = "equal" if row.bit_exact else "DIFFER"
    return f"{row.tensor:<22}{row.case:<19}{row.backend:<7}{columns} {rates} {row.of_copy:7.2f} {modelopt}  {bits}"


def main() -> int:
    parser = argparse.ArgumentParser(description="FP4 codecs against a copy, NumPy and ModelOpt, one thread")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--slow-repeats", type=int, default=3, help="of NumPy and ModelOpt")
    parser.add_argument("--isa", help="instruction sets to time, comma-separated; by default all that this CPU has")
    parser.add_argument(
        "--clock", choices=CLOCKS, default="wall", help="cpu: this thread's, for a machine with other load"
    )
    arguments = parser.parse_args()
    clock = CLOCKS[arguments.clock]
    packages = ("numpy", "torch", "nvidia-modelopt") if MODELOPT else ("numpy",)
    if MODELOPT:
        import modelopt.torch.quantization  # noqa: F401  (its submodules import each other in this order only)
        import torch
        from modelopt.torch.quantization.qtensor import nvfp4_tensor

        torch.set_num_threads(1)
        if not torch.cuda.is_available():
            nvfp4_tensor.fp4_compatible = lambda: False  # 0.37.0 asks for a GPU without looking whether there is one
    native = arguments.isa.split(",") if arguments.isa else backend.available()
    environment = {
        "processor": processor(),
        "threads": 1,
        "clock": arguments.clock,
        "repeats": arguments.repeats,
        "slow_repeats": arguments.slow_repeats,
        "backend": backend.name(),
        "load": [round(value, 2) for value in os.getloadavg()],
        **versions(*packages),
    }
    print(f"FP4 codecs, one thread, CPU: {environment['processor']}, {arguments.clock} time")
    print(f"best of this CPU: {backend.name()}, medians of {arguments.repeats}")
    print("  ".join(f"{key} {environment[key]}" for key in ("python", *packages, "load")))
    heads = "".join(f"{name:>9}" for name in ("reuse ms", "new ms", "copy ms", "numpy ms", "ModelOpt"))
    print(f"\n{'':<48}{heads}  GB/s:out    bf16  x copy ModelOpt/")
    results = []
    for tensor in tensors():
        for case in cases(tensor):
            for row in measure(tensor, case, native, arguments.repeats, arguments.slow_repeats, clock):
                results.append(row)
                print(line(row), flush=True)
    print()
    print(json.dumps({"benchmark": "codecs", "environment": environment, "results": [asdict(r) for r in results]}))
    return 0 if all(row.bit_exact for row in results) else 1


if __name__ == "__main__":
    sys.exit(main())

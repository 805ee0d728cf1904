"""``trtkit inspect`` and ``trtkit plan`` on a checkpoint of gpt-oss-120b's size, each in a process of its own.

The checkpoint is made in a temporary folder: 1,263 tensors in 15 shards, real headers and JSON files, scalar scales of
1.0, everything else a hole in a sparse file (67 GB in name, a few MB on the disk). From the checkout:

    PYTHONPATH=. python benchmarks/inspect_plan.py

The comparison is what one would type without trtkit: ``safetensors.safe_open`` over all shards, names, dtypes and
shapes, also in a process of its own. Each command runs ``--repeats`` times, in turn; wall times are medians, memory is
the largest resident set of any run (Linux only). Ratios are the command's time over the comparison's. A table is
printed, then one JSON line; the exit status is 1 if a target is missed: inspect 0.5 s, plan 1 s, both 300 MB.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path

from machine import processor, versions

from toolkit.checkpoint.header import TensorInfo, itemsize, layout
from toolkit.models.known import predicted_census

REPO = "Firworks/gpt-oss-120b-nvfp4"
SHARD_BYTES = 5_000_000_000  # the splitter's default
RECIPE = "gpt-oss-120b/b200"
# VmHWM is this process's own, ru_maxrss would be at least that of the process that started it
PEAK = """
import atexit, sys
from pathlib import Path
def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    print(next(line.split()[1] for line in lines if line.startswith("VmHWM")), file=sys.stderr)
atexit.register(peak)
"""
TRTKIT = PEAK + "from toolkit.cli import main; main()"
SAFE_OPEN = (
    PEAK
    + """
from safetensors import safe_open
found = {}
for path in sorted(Path(sys.argv[1]).glob("*.safetensors")):
    with safe_open(path, framework="numpy") as shard:
        for name in shard.keys():
            tensor = shard.get_slice(name)
            found[name] = tensor.get_dtype(), tensor.get_shape()
print(len(found))
"""
)


@dataclass(frozen=True)
class Case:
    """``target`` is the wall time to keep, in seconds; None for the comparison."""

    name: str
    argv: tuple[str, ...]
    target: float | None


@dataclass(frozen=True)
class Result:
    """Median wall time and largest resident set of one command."""

    name: str
    seconds: float
    megabytes: float
    ratio: float
    target: float | None

    @property
    def met(self) -> bool:
        return self.target is None or (self.seconds <= self.target and self.megabytes < MEGABYTES)


MEGABYTES = 300


def make(folder: Path) -> tuple[int, int]:
    """Write the checkpoint; returns how many tensors and shards it has."""
    census = predicted_census(REPO)
    assert census is not None
    parts = list(split(census.tensors.values()))
    weight_map = {}
    for number, part in enumerate(parts, 1):
        file = f"model-{number:05}-of-{len(parts):05}.safetensors"
        write_sparse(folder / file, part)
        weight_map |= {info.name: file for info in part}
    documents: Mapping[str, object] = {
        "config.json": census.config,
        "hf_quant_config.json": census.quant_config,
        "model.safetensors.index.json": {"metadata": {}, "weight_map": weight_map},
    }
    for file, document in documents.items():
        (folder / file).write_text(json.dumps(document, indent=2))
    return len(weight_map), len(parts)


def split(tensors: Iterator[TensorInfo] | Sequence[TensorInfo]) -> Iterator[list[TensorInfo]]:
    """In order, a new shard where the next tensor would make one larger than ``SHARD_BYTES``."""
    part: list[TensorInfo] = []
    for info in tensors:
        if part and sum(other.nbytes for other in part) + info.nbytes > SHARD_BYTES:
            yield part
            part = []
        part.append(info)
    yield part


def write_sparse(path: Path, part: Sequence[TensorInfo]) -> None:
    header, infos = layout(path.name, [(info.name, info.dtype, info.shape) for info in part], {"format": "pt"})
    size = len(header) + sum(prod(info.shape) * itemsize(info.dtype) for info in part)
    with path.open("wb") as file:
        file.truncate(size)
        file.write(header)
        for info in infos.values():
            if info.dtype == "F32":
                file.seek(info.begin)
                file.write(b"\x00\x00\x80\x3f")  # 1.0


def run(argv: Sequence[str]) -> tuple[float, float]:
    """(seconds, MB resident at most) of one process; ends this one with its words if it fails."""
    begin = time.perf_counter()
    done = subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    seconds = time.perf_counter() - begin
    if done.returncode:
        sys.exit(f"{' '.join(argv[3:])}: exit status {done.returncode}\n{done.stderr}")
    return seconds, int(done.stderr.split()[-1]) * 1024 / 1e6


def measure(cases: Sequence[Case], repeats: int) -> list[Result]:
    """The last case is the comparison."""
    runs: dict[str, list[tuple[float, float]]] = {case.name: [] for case in cases}
    for _ in range(repeats):
        for case in cases:
            runs[case.name].append(run(case.argv))
    median = {name: statistics.median(seconds for seconds, _ in measured) for name, measured in runs.items()}
    base = median[cases[-1].name]
    return [
        Result(
            name=case.name,
            seconds=round(median[case.name], 3),
            megabytes=round(max(megabytes for _, megabytes in runs[case.name]), 1),
            ratio=round(median[case.name] / base, 2),
            target=case.target,
        )
        for case in cases
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description="trtkit inspect and plan at gpt-oss-120b's size")
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    environment = {"processor": processor(), "repeats": repeats, **versions("numpy", "safetensors")}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tensors, shards = make(folder)
        trtkit = (sys.executable, "-c", TRTKIT)
        cases = (
            Case("trtkit inspect", (*trtkit, "inspect", name), 0.5),
            Case("trtkit plan", (*trtkit, "plan", RECIPE, "--set", f"checkpoint.path={name}"), 1.0),
            Case("safe_open", (sys.executable, "-c", SAFE_OPEN, name), None),
        )
        results = measure(cases, repeats)
    print(f"{tensors:,} tensors in {shards} shards, CPU: {environment['processor']}, medians of {repeats}")
    print("  ".join(f"{key} {environment[key]}" for key in ("python", "numpy", "safetensors")))
    print(f"\n{'':<16}{'s':>8}{'MB':>8}{'ratio':>8}{'target':>10}")
    for row in results:
        target = f"{row.target} s" if row.target else "-"
        missed = "" if row.met else "  MISSED"
        print(f"{row.name:<16}{row.seconds:>8.3f}{row.megabytes:>8.1f}{row.ratio:>8.2f}{target:>10}{missed}")
    print()
    rows = [asdict(row) for row in results]
    print(json.dumps({"benchmark": "inspect_plan", "environment": environment, "results": rows}))
    return 0 if all(row.met for row in results) else 1


if __name__ == "__main__":
    sys.exit(main())

"""The stand-in ``trtllm-bench`` of tests/fakes, put first in PATH, and the point that it is given."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from toolkit.bench.trtllm.argv import BenchPoint, PointFiles, bench_argv
from toolkit.bench.trtllm.dataset import DatasetSpec, write_dataset
from toolkit.bench.trtllm.logs import Progress
from toolkit.bench.trtllm.outcome import Expected, Outcome
from toolkit.bench.trtllm.runner import Limits, run_point
from toolkit.bench.workload import Uniform

SCRIPT = Path(__file__).parents[2] / "fakes" / "trtllm_bench" / "trtllm-bench"
RELEASE = "1.3.0rc5"
REQUESTS, ISL, OSL, CONCURRENCY = 8, 16, 28, 2
QUICK = Limits(wall_s=20.0, silence_s=10.0, stall_s=10.0, grace_s=2.0, poll_s=0.02)


@dataclass(frozen=True)
class Bench:
    """A point of eight requests, ready to be run in ``folder``."""

    folder: Path
    point: BenchPoint

    @property
    def files(self) -> PointFiles:
        return PointFiles(self.folder / "run")

    @property
    def argv(self) -> tuple[str, ...]:
        return bench_argv(RELEASE, self.point, self.files)

    def env(self, wrong: str, extra: Mapping[str, str]) -> dict[str, str]:
        path = f"{self.folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        return {"PATH": path, "PYTHONDONTWRITEBYTECODE": "1", "FAKE_TRTLLM_BENCH": wrong, **extra}

    def run(
        self,
        wrong: str = "Nothing",
        *,
        limits: Limits = QUICK,
        on_progress: Callable[[Progress], None] = lambda progress: None,
        **extra: str,
    ) -> Outcome:
        expected = Expected(REQUESTS, ISL, OSL)
        env = self.env(wrong, extra)
        return run_point(self.argv, self.files, expected, limits=limits, env=env, on_progress=on_progress)


def make_bench(folder: Path) -> Bench:
    (folder / "bin").mkdir()
    (folder / "bin" / "trtllm-bench").symlink_to(SCRIPT)
    (folder / "checkpoint").mkdir()
    (folder / "llm_args.yaml").write_text("max_batch_size: 4\nmax_num_tokens: 512\n")
    spec = DatasetSpec(Uniform(ISL, ISL), Uniform(OSL, OSL), REQUESTS, seed=1, vocab_size=100)
    write_dataset(folder / "dataset.jsonl", spec)
    point = BenchPoint(
        model="made/up",
        model_dir=folder / "checkpoint",
        args_file=folder / "llm_args.yaml",
        args={"max_batch_size": 4, "max_num_tokens": 512, "tensor_parallel_size": 2},
        dataset=folder / "dataset.jsonl",
        requests=REQUESTS,
        concurrency=CONCURRENCY,
    )
    return Bench(folder, point)

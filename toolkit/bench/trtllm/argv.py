"""The exact command line of one point, in the words of a release, and the files that it leaves."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit.errors import PlanError
from toolkit.trtllm import commands

WARMUP_FACTOR = 2
"""Warm-up requests for each one in flight: the default, two in all, never reaches the measured batch and its graphs."""
EOS_NEVER = -1
_HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)
WHERE = "trtllm-bench"


@dataclass(frozen=True, slots=True)
class PointFiles:
    """What a run of one point leaves in its folder."""

    folder: Path

    @property
    def report(self) -> Path:
        return self.folder / "report.json"

    @property
    def requests(self) -> Path:
        return self.folder / "requests.json"

    @property
    def stdout(self) -> Path:
        return self.folder / "stdout.log"

    @property
    def stderr(self) -> Path:
        return self.folder / "stderr.log"

    @property
    def all(self) -> tuple[Path, ...]:
        return self.report, self.requests, self.stdout, self.stderr


@dataclass(frozen=True, slots=True)
class BenchPoint:
    """One point of ``trtllm-bench throughput``.

    ``model`` is the Hub name that the report shows, ``model_dir`` the checkpoint. ``args`` are the LLM arguments that
    ``args_file`` holds. ``concurrency`` is requests in flight, ``warmup`` None for ``WARMUP_FACTOR`` times as many.
    """

    model: str
    model_dir: Path
    args_file: Path
    args: Mapping[str, Any]
    dataset: Path
    requests: int
    concurrency: int
    warmup: int | None = None
    streaming: bool = True


def bench_argv(release: str, point: BenchPoint, files: PointFiles) -> tuple[str, ...]:
    """The command line; ``--config`` and ``--extra_llm_api_options`` are one option, the latter in every release.

    Raises ``PlanError`` for what trtllm-bench would refuse, set by itself, or measure wrongly: a model that is a path,
    a batch or token limit left to its heuristic, a warm-up that is too short.
    """
    _check_model(point.model)
    _check_limits(point.args)
    return tuple(
        commands.bench(
            release,
            point.model,
            str(point.model_dir),
            str(point.args_file),
            str(point.dataset),
            args=point.args,
            concurrency=point.concurrency,
            num_requests=point.requests,
            warmup=_warmup(point),
            streaming=point.streaming,
            report_json=str(files.report),
            request_json=str(files.requests),
            eos_id=EOS_NEVER,
        )
    )


def _check_model(model: str) -> None:
    """It is looked up as a path first, from the working folder, and refused when it is there (general.py @c8c6df08)."""
    if not _HUB_NAME.fullmatch(model) or Path(model).exists():
        hint = (
            "Give a Hub name (openai/gpt-oss-120b) that is no file or folder here; the checkpoint goes in --model_path"
        )
        raise PlanError(f"--model {model!r} is a path, or no name", where=WHERE, hint=hint)


def _check_limits(args: Mapping[str, Any]) -> None:
    for name in ("max_batch_size", "max_num_tokens"):
        value = args.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            what = f"the LLM arguments set no {name}, and its heuristic miscounts packed NVFP4 weights"
            raise PlanError(what, where=WHERE, hint=f"Set {name} in the LLM arguments")


def _warmup(point: BenchPoint) -> int:
    if point.concurrency < 1 or point.requests < point.concurrency:
        what = f"{point.requests} requests at concurrency {point.concurrency}"
        raise PlanError(what, where=WHERE, hint="Give a concurrency of 1 or more, and at least as many requests")
    least = WARMUP_FACTOR * point.concurrency
    if point.warmup is not None and point.warmup < least:
        what = f"{point.warmup} warm-up requests do not fill concurrency {point.concurrency}"
        raise PlanError(what, where=WHERE, hint=f"Give {least} or more")
    return least if point.warmup is None else point.warmup

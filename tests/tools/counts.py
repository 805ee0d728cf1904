"""A load tool's process, and what the served model itself counted meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit.serving.server import Server

ATTEMPTS = 3
"""perf_analyzer exports uninitialised memory for outputs that a response lacks. Where that is a NaN, its JSON ends;
once in some 20 runs."""


@dataclass(frozen=True, slots=True)
class Tool:
    """``helpers`` holds perf_analyzer and its libraries, which genai-perf starts; ``work`` is where the tool runs."""

    path: Path
    helpers: Path
    work: Path

    def run(self, *args: str, offline: bool = True) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "LD_LIBRARY_PATH": str(self.helpers)}
        environment["PATH"] = f"{self.helpers}:{environment['PATH']}"
        if not offline:
            environment.pop("HF_HUB_OFFLINE", None)
        return subprocess.run(
            [str(self.path), *args],
            cwd=self.work,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=280,
            check=False,
        )


def read_export(path: Path) -> list[Any] | None:
    """The requests in perf_analyzer's export; None for one that it broke off."""
    try:
        [experiment] = json.loads(path.read_text())["experiments"]
    except json.JSONDecodeError:
        return None
    requests: list[Any] = experiment["requests"]
    return requests


@dataclass(frozen=True, slots=True)
class Counts:
    """Of completed requests; ``others`` are requests that ended in any other way."""

    requests: int
    others: int
    prompt_tokens: int
    output_tokens: int

    @classmethod
    def of(cls, server: Server) -> Counts:
        with urllib.request.urlopen(server.metrics_url, timeout=10) as reply:
            lines = reply.read().decode().splitlines()

        def total(word: str) -> int:
            return sum(int(float(line.rpartition(" ")[2])) for line in lines if word in line)

        completed = total('outcome="completed"')
        others = total("trtkit_requests_total{") - completed
        return cls(completed, others, total('kind="prompt"'), total('kind="generated"'))

    def __sub__(self, other: Counts) -> Counts:
        return Counts(
            self.requests - other.requests,
            self.others - other.others,
            self.prompt_tokens - other.prompt_tokens,
            self.output_tokens - other.output_tokens,
        )

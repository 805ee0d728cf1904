"""Compile the engine of a TensorRT-LLM checkpoint with the plan's own ``trtllm-build`` line, where that tool is.

Elsewhere the bundle holds the checkpoint alone and says what to type. Timing cache, log and engine lie in the bundle.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from toolkit.errors import BundleError, PlanError
from toolkit.plan.types import Plan
from toolkit.trtllm.flags import Tool, check_flags

TOOL: Tool = "trtllm-build"
ENGINE = "engine"
LOG = "engine-build.log"
TIMING_CACHE = "timing.cache"


@dataclass(frozen=True, slots=True)
class EngineCommand:
    """``argv`` names folders of the finished bundle."""

    argv: tuple[str, ...]
    shell: str
    release: str
    output: Path

    @classmethod
    def of(cls, plan: Plan, output: Path) -> EngineCommand | None:
        """The line that compiles ``plan``'s engine, None where there is nothing to. ``output`` is the recipe's."""
        command = plan.launch.commands.get("build") if plan.launch else None
        if command is None:
            return None
        return cls(command.argv, command.shell, str(plan.target["release"]), output)

    @property
    def tool(self) -> str | None:
        """Where the tool is on this machine."""
        return shutil.which(self.argv[0])

    def run(self, folder: Path, timing_cache: Path, lock: int) -> None:
        """Compile in ``folder``, where the bundle grows; reuses an earlier ``timing_cache`` where there is one.

        The tool inherits ``lock``: while it runs no other build begins, even if this process is killed. Raises
        ``BundleError`` when it fails; what was built before it stays for the next run.
        """
        engine, log = folder / ENGINE, folder / LOG
        shutil.rmtree(engine, ignore_errors=True)
        engine.mkdir()
        if timing_cache.is_file():
            shutil.copyfile(timing_cache, folder / TIMING_CACHE)
        argv = [str(self.tool), *self._argv(folder)[1:]]
        with log.open("wb") as stream:
            status = _call(argv, engine, stream.fileno(), lock)
        if status != 0 or not any(engine.glob("*.engine")):
            what = f"{TOOL} ended with status {status}" if status else f"{TOOL} wrote no engine"
            hint = "Read that log; the next build goes on from here. Or set target.backend=pytorch"
            raise BundleError(f"{what}: {_last_line(log)}", where=str(log), hint=hint)
        for name in outputs(folder):
            with (folder / name).open("rb") as file:
                os.fsync(file.fileno())

    def _argv(self, folder: Path) -> list[str]:
        """The line with the growing bundle's folders, and with its timing cache where the release has the flags."""
        moved = {str(self.output / name): str(folder / name) for name in ("checkpoint", ENGINE)}
        argv = [moved.get(word, word) for word in self.argv]
        cache = str(folder / TIMING_CACHE)
        flags = ["--output_timing_cache", cache]
        if (folder / TIMING_CACHE).is_file():
            flags += ["--input_timing_cache", cache]
        try:
            check_flags(TOOL, self.release, [*argv, *flags])
        except PlanError:
            return argv
        return [*argv, *flags]


def outputs(folder: Path) -> list[str]:
    """What compiling left in a bundle's folder, by name: engine files, log and timing cache."""
    names = [path.relative_to(folder).as_posix() for path in (folder / ENGINE).rglob("*") if path.is_file()]
    return sorted(names) + [name for name in (LOG, TIMING_CACHE) if (folder / name).is_file()]


def _call(argv: Sequence[str], folder: Path, output: int, lock: int) -> int:
    """Exit status; the tool does not outlive an exception here, Ctrl-C included."""
    process = subprocess.Popen(
        argv, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, pass_fds=(lock,)
    )
    try:
        return process.wait()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").split("\n")
    return next((line.strip()[:200] for line in reversed(lines) if line.strip()), "it printed nothing")

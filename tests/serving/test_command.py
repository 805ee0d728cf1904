from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from toolkit.serving.command import KEEPALIVE, command_line


class Installed:
    """A Triton that stages its backends by name alone."""

    binary = Path("/opt/tritonserver/bin/tritonserver")

    def stage_backends(self, folder: Path) -> Path:
        return folder / "staged"


@pytest.mark.parametrize(("grace_s", "exit_s"), [(0.0, 30), (30.0, 30), (30.2, 31), (460.0, 460)])
def test_command_line(grace_s: float, exit_s: int) -> None:
    installed: Any = Installed()
    chosen = {"grpc": 8001, "http": 8000}
    assert command_line(installed, Path("/repo"), "0.0.0.0", chosen, Path("/tmp/trtkit-x"), grace_s) == [
        "/opt/tritonserver/bin/tritonserver",
        "--model-repository=/repo",
        "--backend-directory=/tmp/trtkit-x/backends/staged",
        "--backend-config=python,shm-region-prefix-name=trtkit-x",
        "--disable-auto-complete-config",
        "--allow-gpu-metrics=false",
        f"--exit-timeout-secs={exit_s}",
        "--grpc-address=0.0.0.0",
        "--http-address=0.0.0.0",
        "--grpc-port=8001",
        "--http-port=8000",
        *KEEPALIVE,
    ]

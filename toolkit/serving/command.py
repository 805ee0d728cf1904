"""The command line of tritonserver."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from toolkit.serving.triton import Triton

EXIT_S = 30
"""Triton's own limit on how long it waits for running streams; this is its default."""

# With its defaults the server ends a stream that is silent for three keepalive pings of any client.
KEEPALIVE = (
    "--grpc-http2-min-recv-ping-interval-without-data=1000",
    "--grpc-http2-max-ping-strikes=0",
    "--grpc-keepalive-permit-without-calls=1",
)


def command_line(
    installed: Triton, repository: Path, host: str, chosen: Mapping[str, int], work: Path, grace_s: float
) -> list[str]:
    """Serve ``repository`` at ``host`` on the ports ``chosen`` by endpoint.

    The backends are staged in ``work``, whose name is also the prefix of the server's shared memory.
    """
    return [
        str(installed.binary),
        f"--model-repository={repository.absolute()}",
        f"--backend-directory={installed.stage_backends(work / 'backends')}",
        f"--backend-config=python,shm-region-prefix-name={work.name}",
        "--disable-auto-complete-config",
        "--allow-gpu-metrics=false",
        f"--exit-timeout-secs={max(EXIT_S, math.ceil(grace_s))}",
        *(f"--{name}-address={host}" for name in chosen),
        *(f"--{name}-port={port}" for name, port in chosen.items()),
        *KEEPALIVE,
    ]

"""A running server's metrics, read as Prometheus would."""

from __future__ import annotations

import re
import urllib.request

from toolkit.serving.server import Server


def metric(server: Server, name: str, **labels: str) -> float:
    """The sum of the series of ``name`` that have ``labels``."""
    with urllib.request.urlopen(server.metrics_url, timeout=10) as reply:
        lines = reply.read().decode().splitlines()
    wanted = {f'{key}="{value}"' for key, value in labels.items()}
    return sum(
        float(line.rpartition(" ")[2])
        for line in lines
        if line.startswith(name + "{") and wanted <= set(re.findall(r'\w+="[^"]*"', line))
    )

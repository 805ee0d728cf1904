"""Health by inference: a token was generated, or the server is so busy that others' tokens come first."""

from __future__ import annotations

import http.client
import re
import time
import urllib.request
from collections.abc import Callable

from toolkit.errors import ClientError, DeadlineError, UnavailableError
from toolkit.serving.probe import probe

# Counters that only a generated token moves; those of a cancelled or refused request would move in a dead server, too.
PROGRESS = re.compile(
    r'^(?:trtkit_tokens_total\{[^}]*kind="generated"[^}]*\}|trtkit_time_to_first_token_seconds_count\{[^}]*\}) (\S+)$',
    re.MULTILINE,
)
METRICS_S = 1.0
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def check(url: str, model: str, *, timeout_s: float, metrics_url: str) -> str:
    """Generate one token at ``url`` within ``timeout_s`` and say so.

    A server that refuses it or lets it wait is healthy while its model generates for others: between two looks at
    ``metrics_url`` the counters of generated tokens moved. Raises ``ClientError`` otherwise.
    """
    end = time.monotonic() + timeout_s
    before = generated(metrics_url)
    try:
        started = time.monotonic()
        probe(url, model, timeout_s=timeout_s)
        return f"healthy: one token in {time.monotonic() - started:.3f} s"
    except (DeadlineError, UnavailableError) as error:
        if before is None or not _moves(lambda: generated(metrics_url), before, end):
            raise _unhealthy(error) from None
        return f"healthy: busy with other requests ({error.what})"


def generated(metrics_url: str) -> float | None:
    """The sum of the counters that show progress; None where nothing answers or there are none."""
    try:
        with _DIRECT.open(metrics_url, timeout=METRICS_S) as reply:
            found = PROGRESS.findall(reply.read().decode(errors="replace"))
    except (OSError, http.client.HTTPException):
        return None
    return sum(map(float, found)) if found else None


def _moves(look: Callable[[], float | None], before: float, end: float) -> bool:
    """Whether the counters move before ``end``; they are looked at once at least."""
    while True:
        now = look()
        if now is not None and now > before:
            return True
        if now is None or time.monotonic() >= end:
            return False
        time.sleep(0.25)


def _unhealthy(error: ClientError) -> ClientError:
    return type(error)(f"unhealthy: {error.what}", where=error.where)

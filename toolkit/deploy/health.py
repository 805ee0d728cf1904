"""Health by inference: a token was generated, or the server is so busy that others' tokens come first."""

from __future__ import annotations

import re
import time

from toolkit.errors import ClientError, DeadlineError, UnavailableError
from toolkit.serving.probe import probe
from toolkit.serving.scrape import scrape

# What only a running model moves: tokens, the KV cache in use, the runtime's iterations. Counters of cancelled or
# refused requests would move in front of a dead one, too.
PROGRESS = re.compile(
    r'^(?:trtkit_tokens_total\{[^}]*kind="generated"[^}]*\}'
    r"|trtkit_time_to_first_token_seconds_count\{[^}]*\}"
    r"|trtkit_kv_use_ratio\{[^}]*\}"
    r"|trtkit_runtime_iter\{[^}]*\}) \S+$",
    re.MULTILINE,
)


def check(url: str, model: str, *, timeout_s: float, metrics_url: str) -> str:
    """Generate one token at ``url`` within ``timeout_s`` and say so.

    A server that refuses it or lets it wait is healthy while its model works for others: between two looks at
    ``metrics_url`` one of the figures of ``PROGRESS`` moved. Raises ``ClientError`` otherwise.
    """
    end = time.monotonic() + timeout_s
    before = progress(metrics_url)
    try:
        started = time.monotonic()
        probe(url, model, timeout_s=timeout_s)
        return f"healthy: one token in {time.monotonic() - started:.3f} s"
    except (DeadlineError, UnavailableError) as error:
        if not _moves(metrics_url, before, end):
            raise _unhealthy(error) from None
        return f"healthy: busy with other requests ({error.what})"


def progress(metrics_url: str) -> list[str]:
    """The lines of the metrics that show progress; empty where nothing answers or there are none."""
    return PROGRESS.findall(scrape(metrics_url))


def _moves(metrics_url: str, before: list[str], end: float) -> bool:
    """Whether a figure moves before ``end``; they are looked at once at least."""
    while before and (now := progress(metrics_url)):
        if now != before:
            return True
        if time.monotonic() >= end:
            return False
        time.sleep(0.25)
    return False


def _unhealthy(error: ClientError) -> ClientError:
    return type(error)(f"unhealthy: {error.what}", where=error.where)

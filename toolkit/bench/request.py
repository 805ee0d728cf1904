"""What is kept of one measured request."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class RequestRecord(BaseModel):
    """Times are nanoseconds of the trial's own clock, which starts with its first request.

    ``start_ns`` is taken before the request is handed to the client. In an open loop it is when the request was due,
    and ``late_ns`` is how much later it was handed over: what kept it waiting, the generator or a stalled server, is
    part of its latency. ``token_ns`` holds the receipt time of every output token; tokens that came in one message
    share a time. ``end_ns`` is the receipt of the last message, or when the error was seen. ``prompt_tokens`` is the
    server's count where it sends one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    id: int
    prompt_tokens: int
    start_ns: int
    token_ns: tuple[int, ...]
    end_ns: int
    status: Literal["ok", "error"]
    error: str | None = None
    late_ns: int = 0

    @property
    def output_tokens(self) -> int:
        return len(self.token_ns)

    @property
    def latency_ns(self) -> int:
        """Start to end of the request (E2E)."""
        return self.end_ns - self.start_ns

    @property
    def ttft_ns(self) -> int | None:
        """Time to first token; includes whatever the request waited for anywhere."""
        return self.token_ns[0] - self.start_ns if self.token_ns else None

    @property
    def tpot_ns(self) -> float | None:
        """Time per output token after the first: (end − first) / (OSL − 1). None for fewer than two tokens."""
        if self.output_tokens < 2:
            return None
        return (self.end_ns - self.token_ns[0]) / (self.output_tokens - 1)

    @property
    def itl_ns(self) -> tuple[int, ...]:
        """Inter-token latencies: gaps between the receipts of successive tokens."""
        return tuple(later - earlier for earlier, later in zip(self.token_ns, self.token_ns[1:], strict=False))

"""The ``Engine`` protocol: token ids in, token ids out.

The Triton model, the offline benchmark runner and ``trtkit generate --local`` talk to this protocol and
cannot tell which adapter is behind it. Text is not its business: ``toolkit.engine.text`` turns token
events into text deltas and watches for stop strings.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

FinishReason = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How the next token is chosen. The defaults are greedy decoding.

    ``temperature`` 0 means greedy. ``top_k`` 0 and ``top_p`` 1 switch those filters off; ``min_p`` keeps tokens whose
    probability is at least ``min_p`` times the largest. ``repetition_penalty`` divides (or multiplies, when negative)
    the logits of tokens seen in prompt or output; presence and frequency penalties subtract from the logits of tokens
    seen in the output. ``stop_token_ids`` come on top of the model's own end tokens; ``ignore_eos`` switches only the
    latter off. ``logprobs`` None sends none; 0 sends that of the chosen token; n > 0 adds the n most likely.
    ``min_tokens`` holds back end and stop tokens until so many tokens are there.

    The CPU runtime does just this. TensorRT-LLM departs from it in two ways that its adapter cannot mend:
    ``min_tokens`` holds back only the first of several end tokens, so that another one, or a stop token, still ends a
    request early; and presence and frequency penalties count the tokens of the prompt, too.
    """

    max_tokens: int = 16
    min_tokens: int = 0
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int | None = None
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    logprobs: int | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One generation. ``request_id`` is unique among the engine's live requests.

    Without ``streaming`` the caller reads only the whole: the engine may give all tokens in one event.
    """

    request_id: str
    prompt_ids: tuple[int, ...]
    sampling: SamplingParams = field(default_factory=SamplingParams)
    streaming: bool = True


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """Natural-log probability of one generated token under the model's own distribution (temperature 1, no penalty).

    ``top`` holds the most likely alternatives as (token id, logprob), best first.
    """

    token_id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class PerfMetrics:
    """What the runtime measured of one request; None where it does not. Times are nanoseconds of a monotonic clock.

    The KV counts are of blocks of the paged cache; ``kv_hit_rate`` is reused over reused and missed ones. The last
    three are of speculative decoding.
    """

    arrival_ns: int | None = None
    first_scheduled_ns: int | None = None
    first_token_ns: int | None = None
    last_token_ns: int | None = None
    kv_reused_blocks: int | None = None
    kv_missed_blocks: int | None = None
    kv_new_blocks: int | None = None
    kv_total_blocks: int | None = None
    kv_hit_rate: float | None = None
    acceptance_rate: float | None = None
    accepted_draft_tokens: int | None = None
    draft_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """New tokens of one request; the last event carries ``finish_reason``.

    ``token_ids`` are the new tokens only. An end or stop token is part of them. ``stop_token_id`` names the token that
    ended a ``stop``. ``time_ns`` is ``time.monotonic_ns()`` when the step that made the tokens ended.
    ``cached_tokens``, the prompt's tokens whose keys and values were there already, and ``perf`` are what is known so
    far, None where the runtime does not say: the last event's are final, but a reader may leave before it.
    """

    token_ids: tuple[int, ...]
    time_ns: int
    logprobs: tuple[TokenLogprob, ...] = ()
    finish_reason: FinishReason | None = None
    stop_token_id: int | None = None
    cached_tokens: int | None = None
    perf: PerfMetrics | None = None


@dataclass(frozen=True, slots=True)
class Stats:
    """A snapshot of the engine. Counts are since start; ``slots`` is the largest batch.

    ``finished`` ended by themselves; ``cancelled`` were ended by the caller, which is also how ``toolkit.engine.text``
    ends one at a stop string; ``failed`` ended with an error of their own. ``extra`` holds gauges of the runtime's own
    by name (lower case, digits and underscores).
    """

    running: int
    waiting: int
    slots: int
    kv_tokens: int
    kv_capacity: int
    steps: int
    prompt_tokens: int
    generated_tokens: int
    finished: int
    cancelled: int
    failed: int = 0
    extra: Mapping[str, float] = field(default_factory=dict)


class Engine(Protocol):
    """One loaded model that serves many requests at once."""

    max_seq_len: int

    def submit(self, request: Request) -> AsyncIterator[Event]:
        """Queue ``request`` and yield its events until one carries a finish reason.

        Raises ``RequestError`` at once for a prompt that is empty or longer than the context, a token id outside the
        vocabulary, a duplicate id or an impossible sampling parameter; ``EngineDeadError`` when the engine dies or has
        died; another ``EngineError`` when it is closed, or when this request alone fails. Closing the iterator early
        cancels the request.
        """
        ...

    def cancel(self, request_id: str) -> None:
        """Free the request's slot within one step; unknown or finished ids are ignored."""
        ...

    def stats(self) -> Stats:
        """Raises ``EngineDeadError`` once the engine has died: so whoever serves it learns of it between requests."""
        ...

    def close(self) -> None:
        """Stop the worker and end every open stream with an ``EngineError``; safe to call twice."""
        ...

"""From one row of logits to one token.

Order, as in vLLM: penalties, masked end tokens, temperature, min-p, top-k, top-p, draw. Every request has its own
generator and only its own logits, so a seed gives the same tokens whatever else is in the batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from toolkit.engine.runtime.protocol import SamplingParams, TokenLogprob
from toolkit.errors import RequestError

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
SEEDS = 2**64


def validate(sampling: SamplingParams, vocab_size: int) -> None:
    """Raise RequestError, naming the parameter, for a value that no request can have."""
    ranges = (
        ("max_tokens", sampling.max_tokens >= 1, "at least 1"),
        ("min_tokens", 0 <= sampling.min_tokens <= sampling.max_tokens, "between 0 and max_tokens"),
        ("temperature", 0 <= sampling.temperature < math.inf, "finite and at least 0"),
        ("top_k", sampling.top_k >= 0, "at least 0"),
        ("top_p", 0 < sampling.top_p <= 1, "above 0 and at most 1"),
        ("min_p", 0 <= sampling.min_p <= 1, "between 0 and 1"),
        ("seed", sampling.seed is None or 0 <= sampling.seed < SEEDS, "between 0 and 2**64 - 1"),
        ("repetition_penalty", 0 < sampling.repetition_penalty < math.inf, "finite and above 0"),
        ("presence_penalty", math.isfinite(sampling.presence_penalty), "finite"),
        ("frequency_penalty", math.isfinite(sampling.frequency_penalty), "finite"),
        ("stop_token_ids", _all_below(sampling.stop_token_ids, vocab_size), f"token ids below {vocab_size}"),
        ("logprobs", sampling.logprobs is None or 0 <= sampling.logprobs <= vocab_size, f"between 0 and {vocab_size}"),
    )
    for name, holds, allowed in ranges:
        if not holds:
            raise RequestError(f"{name} is {getattr(sampling, name)!r}, but must be {allowed}")


def _all_below(token_ids: Iterable[int], vocab_size: int) -> bool:
    return all(0 <= token < vocab_size for token in token_ids)


class Sampler:
    """The choices of one request. ``ends`` are the token ids that end it."""

    def __init__(
        self, sampling: SamplingParams, prompt_ids: tuple[int, ...], vocab_size: int, eos_ids: tuple[int, ...]
    ) -> None:
        self._sampling = sampling
        self.ends = frozenset(sampling.stop_token_ids) | frozenset(() if sampling.ignore_eos else eos_ids)
        self._masked = np.array(sorted(token for token in self.ends if token < vocab_size), dtype=np.intp)
        self._random = np.random.default_rng(sampling.seed)
        self._chosen = 0
        self._output_V: F32 | None = None
        self._seen_V: NDArray[np.bool_] | None = None
        if sampling.presence_penalty or sampling.frequency_penalty:
            self._output_V = np.zeros(vocab_size, np.float32)
        if sampling.repetition_penalty != 1.0:
            self._seen_V = np.zeros(vocab_size, np.bool_)
            self._seen_V[list(prompt_ids)] = True

    def choose(self, logits_V: F32) -> tuple[int, TokenLogprob | None]:
        """The next token, and its logprob where the request asks for it. ``logits_V`` is left as it is."""
        token = self._pick(self._shaped(logits_V))
        self._chosen += 1
        if self._output_V is not None:
            self._output_V[token] += 1
        if self._seen_V is not None:
            self._seen_V[token] = True
        wanted = self._sampling.logprobs
        return token, None if wanted is None else _token_logprob(logits_V, token, wanted)

    def _shaped(self, logits_V: F32) -> F32:
        """With penalties, and without the end tokens while ``min_tokens`` are not reached."""
        sampling = self._sampling
        if self._seen_V is not None:
            penalty = np.float32(sampling.repetition_penalty)
            worse_V = np.where(logits_V > 0, logits_V / penalty, logits_V * penalty)
            logits_V = np.where(self._seen_V, worse_V, logits_V)
        if self._output_V is not None:
            logits_V = logits_V - np.float32(sampling.frequency_penalty) * self._output_V
            logits_V -= np.float32(sampling.presence_penalty) * (self._output_V > 0)
        if self._chosen < sampling.min_tokens and self._masked.size:
            logits_V = logits_V.copy()
            logits_V[self._masked] = -np.inf
        return logits_V

    def _pick(self, logits_V: F32) -> int:
        sampling = self._sampling
        if sampling.temperature == 0:
            return int(logits_V.argmax())
        # subtracting first keeps a tiny temperature from overflowing
        probability_V = np.exp((logits_V.astype(np.float64) - float(logits_V.max())) / sampling.temperature)
        kept = np.flatnonzero(probability_V >= sampling.min_p) if sampling.min_p else np.arange(logits_V.size)
        if 0 < sampling.top_k < kept.size:
            kept = kept[_largest(probability_V[kept], sampling.top_k)]
        if sampling.top_p < 1:
            kept = kept[np.argsort(-probability_V[kept], kind="stable")]
        cumulative = np.cumsum(probability_V[kept])
        if sampling.top_p < 1:
            cumulative = cumulative[: np.searchsorted(cumulative, sampling.top_p * cumulative[-1]) + 1]
        draw = self._random.random() * cumulative[-1]
        return int(kept[np.searchsorted(cumulative, draw, side="right")])


def _largest(values: F64, count: int) -> NDArray[np.intp]:
    """Indices of the ``count`` largest values, largest first."""
    if not count:
        return np.empty(0, np.intp)
    # the whole vocabulary need not be sorted
    some = np.sort(np.argpartition(values, -count)[-count:])
    return some[np.argsort(-values[some], kind="stable")]


def _token_logprob(logits_V: F32, token: int, alternatives: int) -> TokenLogprob:
    """Under the model's own distribution: before penalties, masks and temperature."""
    exact_V: F64 = logits_V.astype(np.float64)
    largest = float(exact_V.max())
    exact_V -= largest + math.log(float(np.exp(exact_V - largest).sum()))
    best = _largest(exact_V, alternatives)
    return TokenLogprob(token, float(exact_V[token]), tuple((int(other), float(exact_V[other])) for other in best))

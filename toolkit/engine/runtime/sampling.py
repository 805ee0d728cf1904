"""The range of each sampling parameter, and the way from one row of logits to one token.

Order, as in vLLM: penalties, masked end tokens, temperature, min-p, top-k, top-p, draw. Every request has its own
generator and only its own logits, so a seed gives the same tokens whatever else is in the batch.
"""

from __future__ import annotations

import math
import reprlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolkit.engine.runtime.protocol import SamplingParams, TokenLogprob
from toolkit.errors import EngineError, RequestError

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Range:
    """``low`` to ``high``, both included unless ``above`` leaves ``low`` itself out. NaN is in none."""

    low: float
    high: float = math.inf
    above: bool = False

    def __contains__(self, value: float) -> bool:
        return (self.low < value if self.above else self.low <= value) and value <= self.high

    def __str__(self) -> str:
        """What a value must be: ``at least 1``, ``above 0 and at most 1``, ``between -2 and 2``."""
        if self.high == math.inf:
            return f"{'above' if self.above else 'at least'} {_figure(self.low)}"
        if self.above:
            return f"above {_figure(self.low)} and at most {_figure(self.high)}"
        return f"between {_figure(self.low)} and {_figure(self.high)}"


# 0.01 as FP32, so that a value which has travelled as FP32 is still in the range
RANGES = {
    "max_tokens": Range(1),
    "min_tokens": Range(0),
    "temperature": Range(0, 100),
    "top_k": Range(0),
    "top_p": Range(0, 1, above=True),
    "min_p": Range(0, 1),
    "seed": Range(0, 2**64 - 1),
    "repetition_penalty": Range(float(np.float32(0.01)), 100),
    "presence_penalty": Range(-2, 2),
    "frequency_penalty": Range(-2, 2),
    "logprobs": Range(0),
}
"""By field of ``SamplingParams``, whatever the model. Within them penalised logits stay finite. Presence and frequency
penalties have the range of OpenAI's API."""


def validate(sampling: SamplingParams, vocab_size: int, eos_ids: tuple[int, ...] = ()) -> None:
    """Raise RequestError, naming the parameter, for a value that no request to this model can have."""
    for name, allowed in RANGES.items():
        value = getattr(sampling, name)
        if value is not None and value not in allowed:
            raise _out_of_range(name, value, str(allowed))
    if sampling.min_tokens > sampling.max_tokens:
        raise _out_of_range("min_tokens", sampling.min_tokens, f"at most max_tokens, {sampling.max_tokens}")
    if (sampling.logprobs or 0) > vocab_size:
        raise _out_of_range("logprobs", sampling.logprobs, f"at most {vocab_size}")
    if not all(0 <= token < vocab_size for token in sampling.stop_token_ids):
        raise _out_of_range("stop_token_ids", sampling.stop_token_ids, f"token ids below {vocab_size}")
    if sampling.min_tokens and len(_masked(_ends(sampling, eos_ids), vocab_size)) == vocab_size:
        raise RequestError(
            f"stop_token_ids and end tokens are all {vocab_size} tokens there are, so min_tokens cannot be reached",
            hint="Leave min_tokens or some stop_token_ids out",
        )


def _out_of_range(name: str, value: object, allowed: str) -> RequestError:
    # a request may have given thousands of ids
    return RequestError(f"{name} is {reprlib.repr(value)}, but must be {allowed}")


def _figure(bound: float) -> str:
    return str(bound) if isinstance(bound, int) else f"{bound:g}"


def _ends(sampling: SamplingParams, eos_ids: tuple[int, ...]) -> frozenset[int]:
    return frozenset(sampling.stop_token_ids) | frozenset(() if sampling.ignore_eos else eos_ids)


def _masked(ends: frozenset[int], vocab_size: int) -> list[int]:
    """The ends that have a logit."""
    return sorted(token for token in ends if token < vocab_size)


class Sampler:
    """The choices of one request. ``ends`` are the token ids that end it."""

    def __init__(
        self, sampling: SamplingParams, prompt_ids: tuple[int, ...], vocab_size: int, eos_ids: tuple[int, ...]
    ) -> None:
        self._sampling = sampling
        self.ends = _ends(sampling, eos_ids)
        self._masked = np.array(_masked(self.ends, vocab_size), dtype=np.intp)
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
        """The next token, and its logprob where the request asks for it. ``logits_V`` is left as it is.

        Raises EngineError when the largest logit is NaN or infinite, since then there is nothing to choose by.
        """
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
        best = int(logits_V.argmax())  # of a NaN if there is one
        largest = float(logits_V[best])
        if not math.isfinite(largest):
            raise EngineError(f"no token can be chosen: the largest logit is {largest}")
        if sampling.temperature == 0:
            return best
        with np.errstate(over="ignore"):  # a tiny temperature may make differences infinite, probabilities 0
            probability_V = np.exp((logits_V.astype(np.float64) - largest) / sampling.temperature)
        kept = np.flatnonzero(probability_V >= sampling.min_p) if sampling.min_p else np.arange(logits_V.size)
        if 0 < sampling.top_k < kept.size:
            kept = kept[_largest(probability_V[kept], sampling.top_k)]
        if sampling.top_p < 1:
            kept = kept[np.argsort(-probability_V[kept], kind="stable")]
        cumulative = np.cumsum(probability_V[kept])
        if sampling.top_p < 1:
            cumulative = cumulative[: np.searchsorted(cumulative, sampling.top_p * cumulative[-1]) + 1]
        draw = self._random.random() * cumulative[-1]
        # the product may round up to the sum itself
        return int(kept[min(int(np.searchsorted(cumulative, draw, side="right")), cumulative.size - 1)])


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

"""The protocol's sampling parameters as keywords of ``tensorrt_llm.SamplingParams``.

What upstream's class and workers make of them (sampling_params.py @000a01de and its 1.2 text, base_worker.py of 1.3+):

- Greedy is ``top_k=1`` in every release; ``temperature=0`` is only since 1.1. Without any of temperature, top_k and
  top_p it is greedy too, and in 1.0 with a temperature alone as well, so a sampled request always names ``top_p``.
- ``end_id`` must be given where there is no tokenizer. It is one token; further end tokens go into ``stop_token_ids``.
- ``ignore_eos`` drops the stop tokens as well in 1.3+, so ``end_id=-1``, what upstream makes of it, stands for it here.
- A stop token is cut from the output unless ``include_stop_str_in_output``.
- ``min_tokens`` masks ``end_id`` only: another end or stop token ends a request before it is reached.
- ``logprobs=0`` gives the chosen token's since 1.3 and nothing before; 1 holds the chosen token's in every release.
- Penalties count the prompt's tokens too, also presence and frequency, which the CPU runtime counts in the output.
"""

from __future__ import annotations

from typing import Any

from toolkit.engine.runtime.protocol import SamplingParams
from toolkit.errors import RequestError

NEUTRAL: dict[str, float] = {
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}
NO_END = -1


def sampling_kwargs(
    sampling: SamplingParams, eos_ids: tuple[int, ...], ignored: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """Keywords of upstream's class. ``ignored`` are parameters that the runtime's sampler does not look at.

    Raises RequestError for one of those that is asked for.
    """
    ends = () if sampling.ignore_eos else eos_ids
    end_id = ends[0] if ends else NO_END
    stops = tuple(dict.fromkeys(token for token in (*ends[1:], *sampling.stop_token_ids) if token != end_id))
    kwargs: dict[str, Any] = {
        "max_tokens": sampling.max_tokens,
        "end_id": end_id,
        "pad_id": eos_ids[0] if eos_ids else 0,
        "include_stop_str_in_output": True,
        "detokenize": False,
        "add_special_tokens": False,
        "return_perf_metrics": True,
        **_choice(sampling),
        **_shaping(sampling, ignored),
    }
    if stops:
        kwargs["stop_token_ids"] = list(stops)
    if sampling.min_tokens and end_id != NO_END:
        kwargs["min_tokens"] = sampling.min_tokens
    if sampling.logprobs is not None:
        kwargs["logprobs"] = max(1, sampling.logprobs)
    return kwargs


def _choice(sampling: SamplingParams) -> dict[str, Any]:
    if sampling.temperature == 0:
        return {"top_k": 1}
    chosen: dict[str, Any] = {"temperature": sampling.temperature, "top_p": sampling.top_p}
    if sampling.top_k:
        chosen["top_k"] = sampling.top_k
    if sampling.seed is not None:
        chosen["seed"] = sampling.seed
    return chosen


def _shaping(sampling: SamplingParams, ignored: frozenset[str]) -> dict[str, Any]:
    asked = {name: getattr(sampling, name) for name, neutral in NEUTRAL.items() if getattr(sampling, name) != neutral}
    if sampling.temperature == 0:
        asked.pop("min_p", None)  # the most likely token is always among those that it keeps
    for name in asked:
        if name in ignored:
            raise RequestError(
                f"the sampler of this TensorRT-LLM ignores {name}",
                hint=f"Leave {name} out, or run a release that knows it",
            )
    return asked

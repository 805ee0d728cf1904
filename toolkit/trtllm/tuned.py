"""NVIDIA's published LLM arguments for a model on a GPU, read from ``data/tuned.yaml``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, NamedTuple

from pydantic import Field

from toolkit.trtllm.facts import Record, read

Profile = Literal["latency", "throughput"]
Weights = Literal["nvfp4", "mxfp4", "bf16", "fp8"]

PARALLEL = {"tensor_parallel_size", "moe_expert_parallel_size", "enable_attention_dp"}
DP_SECTION = "attention_dp_config"
TOP_LEVEL_FRACTION = "kv_cache_free_gpu_memory_fraction"


class Parallel(NamedTuple):
    """The layout an entry was published for; a layout that it leaves out is TensorRT-LLM's default."""

    tp: int
    ep: int
    attention_dp: bool


class Entry(Record):
    """One published configuration; ``args`` is the whole file, ``weights`` what it was tuned with."""

    family: Literal["gpt-oss", "llama", "qwen3-moe"]
    model: str
    profile: Profile
    sm: tuple[int, ...]
    weights: Weights
    also: tuple[Weights, ...] = ()
    isl: int | None = Field(None, ge=1)
    osl: int | None = Field(None, ge=1)
    concurrency: int | None = Field(None, ge=1)
    source: str
    args: Mapping[str, Any]

    @property
    def parallel(self) -> Parallel:
        tp, ep = self.args.get("tensor_parallel_size", 1), self.args.get("moe_expert_parallel_size", 1)
        return Parallel(tp, ep, self.args.get("enable_attention_dp", False))


@dataclass(frozen=True, slots=True)
class Tuned:
    """LLM arguments without layout and environment, which stand in ``parallel`` and ``env``.

    ``weights`` is the format that NVIDIA tuned them with; ``note`` says, in one line, what differs from there.
    """

    args: Mapping[str, Any]
    env: Mapping[str, str]
    parallel: Parallel
    weights: Weights
    source: str
    note: str


@cache
def entries() -> tuple[Entry, ...]:
    """Every published configuration, best first within one model, GPU and profile."""
    return tuple(Entry.model_validate(entry) for entry in read("tuned")["entries"])


def find(
    family: str,
    model: str,
    sm: int,
    profile: Profile,
    *,
    weights: str | None = None,
    tp: int | None = None,
    attention_dp: bool | None = None,
) -> Tuned | None:
    """The configuration that fits best, or None where NVIDIA published none for that family, GPU and profile.

    With ``weights`` only those whose kernels take that format. One of another size of the family, of another tensor
    parallel size, or with the other kind of attention, is taken where there is no nearer one, and ``note`` says so.
    """
    fits = [
        entry
        for entry in entries()
        if (entry.family, entry.profile) == (family, profile)
        and (not entry.sm or sm in entry.sm)
        and (weights is None or weights in (entry.weights, *entry.also))
    ]
    if not fits:
        return None
    # min is stable: the order of the file decides among equals
    best = min(
        fits,
        key=lambda entry: (
            entry.model != model,
            tp not in (None, entry.parallel.tp),
            attention_dp not in (None, entry.parallel.attention_dp),
        ),
    )
    return _tuned(best, "; ".join(_differences(best, model, weights, tp, attention_dp)), attention_dp)


def _differences(
    entry: Entry, model: str, weights: str | None, tp: int | None, attention_dp: bool | None
) -> Iterable[str]:
    if entry.model != model:
        yield f"published for {entry.model}"
    if weights is not None and weights != entry.weights:
        yield f"tuned with {entry.weights.upper()} weights, not {weights.upper()}"
    if tp is not None and tp != entry.parallel.tp:
        yield f"published for tensor parallel size {entry.parallel.tp}"
    if attention_dp not in (None, entry.parallel.attention_dp):
        yield f"published {'with' if entry.parallel.attention_dp else 'without'} attention DP"
    if entry.isl is not None:
        yield f"for {entry.isl} tokens in, {entry.osl} out at concurrency {entry.concurrency}"


def _tuned(entry: Entry, note: str, attention_dp: bool | None) -> Tuned:
    left_out = PARALLEL | {"env_overrides"} | ({DP_SECTION} if attention_dp is False else set())
    args = {key: value for key, value in entry.args.items() if key not in left_out}
    if TOP_LEVEL_FRACTION in args:
        fraction = args.pop(TOP_LEVEL_FRACTION)
        args["kv_cache_config"] = {**args.get("kv_cache_config", {}), "free_gpu_memory_fraction": fraction}
    env = {name: str(value) for name, value in entry.args.get("env_overrides", {}).items()}
    return Tuned(args, env, entry.parallel, entry.weights, entry.source, note)

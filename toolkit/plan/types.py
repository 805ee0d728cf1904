"""``Plan``: what will be done to a checkpoint, as pure data.

Planning reads headers only; ``toolkit.engine.build`` carries a plan out and decides nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from math import prod
from typing import Any, Literal, NamedTuple

from toolkit.checkpoint.header import itemsize
from toolkit.trtllm.commands import Command

ActionKind = Literal["keep", "dequantize", "transcode", "cast", "rescale", "relay", "take", "fill", "drop"]
Origin = Literal["input_scales", "bf16"]
KvDtype = Literal["bf16", "fp8", "nvfp4"]
Certainty = Literal["verified", "inferred", "unverified"]
Verdict = Literal["loads", "after-change", "refused"]


@dataclass(frozen=True, slots=True)
class Slice:
    """Part of an input along one axis, in elements of the stored tensor: ``begin`` up to ``end``."""

    axis: int
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Action:
    """What happens to source tensors to make one output; ``drop`` has none. ``reason`` is a key of ``Plan.reasons``.

    ========== ============================================================================== ========================
    kind       output                                                                         inputs
    ========== ============================================================================== ========================
    keep       the same bytes                                                                 the tensor
    dequantize NVFP4 decoded to BF16                                                          packed, block scale,
                                                                                              global scale
    transcode  NVFP4 → MXFP4: blocks or scales, by the name                                   as for dequantize
    cast       MXFP4 → NVFP4: packed codes, block scale or global scale, by the name          blocks, scales
    rescale    block scales computed again from the BF16 weight in ``borrowed``               packed, global scale
    relay      the inputs, each cut to its slice, joined along axis 0                         any
    take       the same bytes, of the tensor in ``borrowed``                                  none
    fill       a scalar with ``value``                                                        none
    drop       nothing                                                                        the tensor
    ========== ============================================================================== ========================

    ``borrowed`` names tensors of the recipe's other checkpoint ``origin``.
    """

    kind: ActionKind
    inputs: tuple[str, ...]
    output: str | None = None
    dtype: str | None = None
    shape: tuple[int, ...] = ()
    reason: str = ""
    slices: tuple[Slice | None, ...] = ()
    borrowed: tuple[str, ...] = ()
    origin: Origin | None = None
    value: float | None = None

    @property
    def nbytes(self) -> int:
        """Bytes written."""
        return prod(self.shape) * itemsize(self.dtype) if self.dtype else 0


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """One safetensors file of the bundle and its tensors in order.

    It has the name of the source file that its inputs are in, or is a rank's file of a TensorRT-LLM checkpoint.
    """

    file: str
    actions: tuple[Action, ...]

    @property
    def unchanged(self) -> bool:
        return all(action.kind == "keep" for action in self.actions)

    @property
    def nbytes(self) -> int:
        return sum(action.nbytes for action in self.actions)


@dataclass(frozen=True, slots=True)
class Copy:
    """A file taken over as it is, from the checkpoint or from the recipe's tokenizer folder."""

    origin: Literal["checkpoint", "tokenizer"]
    file: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """A fact that decided, where it stands, how sure it is, the day it was read, and its id in ``trtkit targets``."""

    statement: str
    source: str
    status: str = "verified"
    checked: str = ""
    id: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One reason why the target cannot load this, the fact behind it, and the ways out."""

    what: str
    ways_out: tuple[str, ...]
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Note:
    """What a user should know before trusting the plan."""

    what: str
    source: str = ""


class Split(NamedTuple):
    """A parallel layout without pipeline parallelism."""

    tp: int
    ep: int
    attention_dp: bool


@dataclass(frozen=True, slots=True)
class Fit:
    """How many requests of ``context`` tokens (prompt and output) the KV cache holds at once, over all ranks."""

    context: int
    requests: int


@dataclass(frozen=True, slots=True)
class Memory:
    """Device memory in bytes, of the rank that holds most.

    ``kv_budget`` is ``fraction`` of what weights and reserve leave. ``kv_per_token`` counts full-attention layers,
    ``kv_window`` what the sliding-window layers of one long request hold.
    """

    gpu: int
    weights: int
    reserve: int
    kv_budget: int
    kv_per_token: int
    kv_window: int
    kv_dtype: KvDtype
    fits: tuple[Fit, ...]


@dataclass(frozen=True, slots=True)
class Launch:
    """Command lines for the bundle by name, ``model.yaml`` of NVIDIA's Triton model, and the environment of both."""

    commands: Mapping[str, Command]
    triton_model: Mapping[str, Any]
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole way from one checkpoint to one target.

    ``json_files`` are the rewritten files, whole; ``llm_args`` the ``LLM(...)`` arguments (None for the CPU runtime).
    ``lossy`` says that the weights change their FP4 format, which is not exact; decoding to BF16 is rounding and has a
    note. ``ways_out`` name what loads the checkpoint's own format instead. ``kernel`` names what computes the quantised
    weights, ``contested`` that it is reported to fail or that sources disagree. ``layouts`` are the legal parallel
    layouts on up to eight GPUs that hold the weights.
    ``predicted`` says that nothing was read and the source layout is that of a known published checkpoint; then
    ``json_files`` has the names alone, with None for what follows from the files themselves.
    """

    architecture: str
    target: Mapping[str, Any]
    verdict: Verdict
    why: str
    shards: tuple[ShardPlan, ...]
    formats: Mapping[str, str] = field(default_factory=dict)
    kernel: str | None = None
    lossy: bool = False
    contested: bool = False
    certainty: Certainty = "verified"
    ways_out: tuple[str, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    json_files: Mapping[str, Any] = field(default_factory=dict)
    copies: tuple[Copy, ...] = ()
    llm_args: Mapping[str, Any] | None = None
    reasons: Mapping[str, str] = field(default_factory=dict)
    refusals: tuple[Refusal, ...] = ()
    notes: tuple[Note, ...] = ()
    memory: Memory | None = None
    layouts: tuple[Split, ...] = ()
    launch: Launch | None = None
    confirm: str | None = None
    predicted: bool = False
    schema_version: int = 2

    @property
    def actions(self) -> Iterator[Action]:
        return (action for shard in self.shards for action in shard.actions)

    def counts(self) -> dict[str, int]:
        """How many actions there are of each kind."""
        return dict(Counter(action.kind for action in self.actions))

    @property
    def output_bytes(self) -> int:
        """Tensor bytes of the bundle."""
        return sum(shard.nbytes for shard in self.shards)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def digest(self) -> str:
        """SHA-256 of what is built: equal digests mean equal bundles, whatever else is known about the target."""
        built = {name: value for name, value in self.to_dict().items() if name in _BUILT}
        canonical = json.dumps(built, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


_BUILT = frozenset(
    {"architecture", "target", "shards", "json_files", "copies", "llm_args", "predicted", "schema_version"}
)

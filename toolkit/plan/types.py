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
from typing import Any, Literal

from toolkit.checkpoint.header import itemsize

ActionKind = Literal["keep", "dequantize", "drop"]
Verdict = Literal["loads", "after-change", "refused"]


@dataclass(frozen=True, slots=True)
class Action:
    """What happens to one source tensor.

    ``keep`` copies its bytes; ``dequantize`` decodes NVFP4 ``inputs`` (packed weight, block scale, global scale) to
    BF16; ``drop`` leaves it out, so ``output`` is None. ``reason`` is a key of ``Plan.reasons``.
    """

    kind: ActionKind
    inputs: tuple[str, ...]
    output: str | None = None
    dtype: str | None = None
    shape: tuple[int, ...] = ()
    reason: str = ""

    @property
    def nbytes(self) -> int:
        """Bytes written."""
        return prod(self.shape) * itemsize(self.dtype) if self.dtype else 0


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """One safetensors file of the bundle, made from the source file of the same name, tensors in source order."""

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
class Refusal:
    """One reason why the target cannot load this, and the way out."""

    what: str
    way_out: str
    source: str


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole way from one checkpoint to one target.

    ``json_files`` are the rewritten files, whole; ``llm_args`` the ``LLM(...)`` arguments (None for the CPU runtime).
    ``predicted`` says that nothing was read and the source layout is that of a known published checkpoint; then
    ``json_files`` has the names alone, with None for what follows from the files themselves.
    """

    architecture: str
    target: Mapping[str, Any]
    verdict: Verdict
    why: str
    shards: tuple[ShardPlan, ...]
    json_files: Mapping[str, Any] = field(default_factory=dict)
    copies: tuple[Copy, ...] = ()
    llm_args: Mapping[str, Any] | None = None
    reasons: Mapping[str, str] = field(default_factory=dict)
    refusals: tuple[Refusal, ...] = ()
    confirm: str | None = None
    predicted: bool = False
    schema_version: int = 1

    @property
    def actions(self) -> Iterator[Action]:
        return (action for shard in self.shards for action in shard.actions)

    def counts(self) -> dict[str, int]:
        """How many source tensors meet each kind of action."""
        return dict(Counter(action.kind for action in self.actions))

    @property
    def output_bytes(self) -> int:
        """Tensor bytes of the bundle."""
        return sum(shard.nbytes for shard in self.shards)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON form; equal plans build equal bundles."""
        canonical = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

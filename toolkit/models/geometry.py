"""The sizes that fix every tensor's shape, read from a Hugging Face ``config.json``.

``torch_dtype`` or ``dtype``, ``rope_scaling`` and ``rope_theta`` or ``rope_parameters``: the keys that transformers
renamed say nothing about shapes and are not read.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from toolkit.errors import CheckpointError

MAX_SIZE = (1 << 31) - 1
MAX_LAYERS = 4096
CONFIG_HINT = "Take config.json from the export that these weights came with"
Spec = tuple[str, tuple[int, ...]]
"""(safetensors dtype, shape) of one tensor."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """``intermediate`` is one expert's where there are ``experts``; 0 experts is a dense model.

    ``windows`` has each layer's attention window in tokens, None for full attention. ``tied``: lm_head is the embedding
    and has no tensor of its own. ``max_positions`` is the context in tokens, None where the config does not say.
    """

    layers: int
    hidden: int
    intermediate: int
    experts: int
    experts_per_token: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    windows: tuple[int | None, ...]
    max_positions: int | None
    tied: bool
    attention_bias: bool = False
    ffn_bias: bool = False

    def projection_shape(self, projection: str) -> tuple[int, int]:
        """[out, in] of an attention projection, or of a projection of the FFN or of one expert."""
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return {
            "q_proj": (q, self.hidden),
            "k_proj": (kv, self.hidden),
            "v_proj": (kv, self.hidden),
            "o_proj": (self.hidden, q),
            "gate_proj": (self.intermediate, self.hidden),
            "up_proj": (self.intermediate, self.hidden),
            "down_proj": (self.hidden, self.intermediate),
        }[projection]


@dataclass(frozen=True, slots=True)
class Config:
    """``config.json`` with checked access; every method raises ``CheckpointError`` naming the file and the key."""

    values: Mapping[str, Any]
    where: str

    def size(self, key: str, *, most: int = MAX_SIZE) -> int:
        """A positive integer up to ``most``."""
        value = self.values.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_SIZE:
            raise self.wrong(f"{key} is {reprlib.repr(value)}, not a positive integer of 32 bits")
        if value > most:
            raise self.wrong(f"{key} is {value}, more than {most}")
        return value

    def optional_size(self, key: str) -> int | None:
        return None if self.values.get(key) is None else self.size(key)

    def flag(self, key: str) -> bool:
        """False where the key is absent."""
        value = self.values.get(key)
        if value is not None and not isinstance(value, bool):
            raise self.wrong(f"{key} is {reprlib.repr(value)}, not true or false")
        return bool(value)

    def wrong(self, what: str) -> CheckpointError:
        return CheckpointError(what, where=f"{self.where}/config.json", hint=CONFIG_HINT)

    def shared_sizes(self) -> dict[str, Any]:
        """What every family spells alike; ``num_key_value_heads`` and ``head_dim`` have transformers' defaults."""
        hidden, heads = self.size("hidden_size"), self.size("num_attention_heads")
        head_dim = self.optional_size("head_dim")
        if head_dim is None and hidden % heads:
            raise self.wrong(f"hidden_size {hidden} is not a multiple of num_attention_heads {heads}")
        return {
            "layers": self.size("num_hidden_layers", most=MAX_LAYERS),
            "hidden": hidden,
            "heads": heads,
            "kv_heads": self.optional_size("num_key_value_heads") or heads,
            "head_dim": head_dim or hidden // heads,
            "vocab": self.size("vocab_size"),
            "max_positions": self.optional_size("max_position_embeddings"),
            "tied": self.flag("tie_word_embeddings"),
        }

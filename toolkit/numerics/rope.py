"""Rotary position embedding with YaRN, as Hugging Face gpt-oss computes it.

Axes: T tokens, N heads, D head_dim, R = D/2 rotation planes. Plane r turns the pair (x[r], x[r + R]) by
position · frequency[r] (half-split, not interleaved).

YaRN (https://huggingface.co/papers/2309.00071): planes that turn more than ``beta_fast`` times over the original
context keep their frequency θ^(-2r/D), planes that turn less than ``beta_slow`` times have it divided by ``factor``,
the planes between are blended linearly; cos and sin are multiplied by 0.1·ln(factor) + 1. gpt-oss uses the exact
bounds of that range (``truncate`` false); other implementations round them outwards, which moves the logits by 8 %.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import CheckpointError

F32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Yarn:
    """How the frequencies are stretched beyond ``original_context`` tokens."""

    factor: float
    original_context: int
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True
    attention_factor: float | None = None

    @property
    def attention_scaling(self) -> float:
        """What cos and sin are multiplied by."""
        if self.attention_factor is not None:
            return self.attention_factor
        return 0.1 * math.log(self.factor) + 1.0 if self.factor > 1 else 1.0


@dataclass(frozen=True, slots=True)
class Rope:
    """Base frequency, head width and, where the model has it, YaRN."""

    theta: float
    head_dim: int
    yarn: Yarn | None = None

    @classmethod
    def from_config(cls, config: Mapping[str, Any], head_dim: int) -> Rope:
        """Read ``rope_scaling`` + ``rope_theta``, or the ``rope_parameters`` of transformers 5.

        Raises CheckpointError for a rope type other than "default" and "yarn", or a key that is missing.
        """
        section = config.get("rope_parameters") or config.get("rope_scaling") or {}
        theta = section.get("rope_theta", config.get("rope_theta"))
        kind = section.get("rope_type", section.get("type", "default"))
        if theta is None:
            raise CheckpointError("no key 'rope_theta'", where="config.json")
        if kind == "default":
            return cls(float(theta), head_dim)
        if kind != "yarn":
            raise CheckpointError(f"rope type {kind!r} is not known", where="config.json", hint="Known: default, yarn")
        return cls(float(theta), head_dim, _read_yarn(section, config))


def _read_yarn(section: Mapping[str, Any], config: Mapping[str, Any]) -> Yarn:
    # the fallbacks are those of transformers' _compute_yarn_parameters
    context = section.get("original_max_position_embeddings") or config.get("max_position_embeddings")
    if "factor" not in section or context is None:
        raise CheckpointError("YaRN needs factor and original_max_position_embeddings", where="config.json")
    factor = section.get("attention_factor")
    return Yarn(
        factor=float(section["factor"]),
        original_context=int(context),
        beta_fast=float(section.get("beta_fast") or 32.0),
        beta_slow=float(section.get("beta_slow") or 1.0),
        truncate=bool(section.get("truncate", True)),
        attention_factor=None if factor is None else float(factor),
    )


def frequencies(rope: Rope) -> F32:
    """Radians per position of each plane, float32 [R]."""
    exponent_R = np.arange(0, rope.head_dim, 2, dtype=np.float32) / np.float32(rope.head_dim)
    period_R: F32 = np.power(np.float32(rope.theta), exponent_R)
    plain_R: F32 = np.float32(1.0) / period_R
    if rope.yarn is None:
        return plain_R
    stretched_R = np.float32(1.0) / (np.float32(rope.yarn.factor) * period_R)
    kept_R: F32 = 1 - _ramp(rope, rope.yarn)
    blended_R: F32 = stretched_R * (1 - kept_R) + plain_R * kept_R
    return blended_R


def _ramp(rope: Rope, yarn: Yarn) -> F32:
    """0 where the plane keeps its frequency, 1 where it is stretched, linear between; float32 [R]."""
    low, high = (_plane_of_turns(turns, rope, yarn.original_context) for turns in (yarn.beta_fast, yarn.beta_slow))
    if yarn.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, rope.head_dim - 1)
    if low == high:
        high += 0.001
    ramp_R = (np.arange(rope.head_dim // 2, dtype=np.float32) - np.float32(low)) / np.float32(high - low)
    return np.clip(ramp_R, np.float32(0), np.float32(1))


def _plane_of_turns(turns: float, rope: Rope, context: int) -> float:
    """The (fractional) plane that turns ``turns`` times over ``context`` positions."""
    return rope.head_dim * math.log(context / (turns * 2 * math.pi)) / (2 * math.log(rope.theta))


def tables(rope: Rope, positions: int) -> tuple[F32, F32]:
    """cos float32 [positions, 1, 1, R] and sin float32 [positions, 1, 2, R], ready for ``rotate``.

    The two rows of sin are -sin and +sin, for the first and the second half of a head.
    """
    angles_TR = np.arange(positions, dtype=np.float32)[:, None] * frequencies(rope)
    scaling = np.float32(rope.yarn.attention_scaling if rope.yarn is not None else 1.0)
    cos_TR, sin_TR = np.cos(angles_TR) * scaling, np.sin(angles_TR) * scaling
    return cos_TR[:, None, None, :], np.stack([-sin_TR, sin_TR], axis=1)[:, None, :, :]


def rotate(x_TND: F32, cos_T11R: F32, sin_T12R: F32) -> F32:
    """Turn every head of ``x_TND`` by its token's angles; float32 [T, N, D]."""
    tokens, heads, width = x_TND.shape
    x_TN2R = x_TND.reshape(tokens, heads, 2, width // 2)
    turned_TN2R = x_TN2R * cos_T11R
    turned_TN2R += x_TN2R[:, :, ::-1] * sin_T12R
    return turned_TN2R.reshape(tokens, heads, width)

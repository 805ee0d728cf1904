"""Bytes of the KV cache on the rank that holds most of it.

A layer keeps K and V of [tokens, KV heads, head_dim]; one with a sliding window keeps its last ``window`` tokens only.
``element_bytes`` is 2 for BF16, 1 for FP8 and 0.5625 for NVFP4 with its block scales. Tensor parallelism splits the KV
heads, and copies them where there are more ranks than heads; with attention data parallelism a request's cache is whole
on one rank. A cache manager hands out whole pages; that rounding is not counted.
"""

from __future__ import annotations

from math import ceil

from toolkit.models.geometry import Geometry
from toolkit.models.sharding import stages


def kv_bytes(
    geometry: Geometry, tokens: int, *, element_bytes: float, tp: int = 1, pp: int = 1, attention_dp: bool = False
) -> int:
    """Bytes for one request of ``tokens`` tokens, prompt and output together."""
    held = [tokens if window is None else min(tokens, window) for window in geometry.windows]
    most = max(sum(held[layer] for layer in stage) for stage in stages(geometry.layers, pp))
    return ceil(most * _layer_bytes(geometry, element_bytes, 1 if attention_dp else tp))


def kv_bytes_per_token(
    geometry: Geometry, *, element_bytes: float, tp: int = 1, pp: int = 1, attention_dp: bool = False
) -> int:
    """Bytes that one more token costs a request longer than every window: the full-attention layers'."""
    full = [window is None for window in geometry.windows]
    most = max(sum(full[layer] for layer in stage) for stage in stages(geometry.layers, pp))
    return ceil(most * _layer_bytes(geometry, element_bytes, 1 if attention_dp else tp))


def _layer_bytes(geometry: Geometry, element_bytes: float, tp: int) -> float:
    """K and V of one token in one layer."""
    return 2 * -(-geometry.kv_heads // tp) * geometry.head_dim * element_bytes

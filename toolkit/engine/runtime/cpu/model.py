"""One ragged step of the model over the KV cache: prefill, chunked prefill and decode in one call.

Axes: T rows of the step, H hidden, N query heads, J KV heads, Q = N/J, D head_dim, B rows of a group, R rows that need
logits, V vocabulary.
"""

from __future__ import annotations

import numpy as np

from toolkit.engine.runtime.cpu.batch import F32, Batch, Chunk, Group, Ints
from toolkit.engine.runtime.cpu.kv import LayerCache
from toolkit.numerics.gpt_oss import (
    GptOssConfig,
    Layer,
    Weights,
    attend_sequence,
    causal_bias,
    embed,
    feed_forward,
    head_logits,
    project_qkv,
)
from toolkit.numerics.ops import attend, linear
from toolkit.numerics.rope import tables

QUERY_BLOCK = 128  # queries attended at once in a chunk, so that scores stay small and few lie outside the mask


class Model:
    """Weights and the cache of ``slots`` sequences of at most ``max_seq_len`` tokens. Not thread-safe."""

    def __init__(self, weights: Weights, config: GptOssConfig, *, slots: int, max_seq_len: int) -> None:
        self.config = config
        self._weights = weights
        self._cos, self._sin = tables(config.rope, max_seq_len)
        self._caches = tuple(
            LayerCache(slots, config.num_kv_heads, max_seq_len, config.head_dim, window) for window in config.windows
        )

    def step(self, tokens_T: Ints, positions_T: Ints, slots_T: Ints, logit_rows_R: Ints) -> F32:
        """Logits [R, V] of the rows ``logit_rows_R``, after every row has gone into the cache.

        Slots ascend; the rows of a slot are consecutive, and their positions continue what the slot holds (or start
        again at 0).
        """
        batch = Batch.of(tokens_T, positions_T, slots_T, self.config.windows)
        cos, sin = self._cos[positions_T], self._sin[positions_T]
        x_TH = embed(tokens_T, self._weights)
        for layer, cache in zip(self._weights.layers, self._caches, strict=True):
            q_TND, k_TJD, v_TJD = project_qkv(x_TH, layer, self.config, cos, sin)
            attended_TA = _attend(q_TND, k_TJD, v_TJD, layer, cache, batch)
            x_TH = x_TH + linear(attended_TA, layer.output)
            x_TH += feed_forward(x_TH, layer, self.config)
        return head_logits(x_TH[logit_rows_R], self._weights, self.config)


def _attend(q_TND: F32, k_TJD: F32, v_TJD: F32, layer: Layer, cache: LayerCache, batch: Batch) -> F32:
    """[T, N·D]."""
    out_TA = np.empty((q_TND.shape[0], q_TND.shape[1] * q_TND.shape[2]), np.float32)
    for chunk in batch.chunks:
        rows = slice(chunk.begin, chunk.end)
        _attend_chunk(q_TND[rows], k_TJD[rows], v_TJD[rows], layer, cache, chunk, out_TA[rows])
    rows_B = batch.single_rows
    cache.put(batch.single_slots_B, batch.single_positions_B, k_TJD[rows_B], v_TJD[rows_B])
    for group in batch.groups[cache.window]:
        out_TA[group.rows] = _attend_group(q_TND[group.rows], layer, cache, group)
    return out_TA


def _attend_chunk(
    q_TND: F32, k_TJD: F32, v_TJD: F32, layer: Layer, cache: LayerCache, chunk: Chunk, out_TA: F32
) -> None:
    keys_JTD, values_JTD, first = cache.extend(chunk.slot, chunk.position, k_TJD, v_TJD)
    keys_TJD, values_TJD = keys_JTD.transpose(1, 0, 2), values_JTD.transpose(1, 0, 2)
    for begin in range(0, len(q_TND), QUERY_BLOCK):
        q_SND = q_TND[begin : begin + QUERY_BLOCK]
        seen_from = 0 if cache.window is None else max(0, chunk.position + begin - cache.window + 1 - first)
        seen = slice(seen_from, chunk.position + begin + len(q_SND) - first)
        bias_ST = causal_bias(len(q_SND), seen.stop - seen.start, cache.window)
        out_TA[begin : begin + QUERY_BLOCK] = attend_sequence(
            q_SND, keys_TJD[seen], values_TJD[seen], layer.sinks_N, bias_ST
        )


def _attend_group(q_BND: F32, layer: Layer, cache: LayerCache, group: Group) -> F32:
    rows, heads, width = q_BND.shape
    keys_BJTD = cache.keys_SJCD[group.slots, :, : group.keys]
    values_BJTD = cache.values_SJCD[group.slots, :, : group.keys]
    shared = keys_BJTD.shape[1]
    q_BJQD = q_BND.reshape(rows, shared, heads // shared, width)
    out_BJQD = attend(q_BJQD, keys_BJTD, values_BJTD, layer.sinks_N.reshape(shared, -1), group.bias_B11T)
    return out_BJQD.reshape(rows, heads * width)

"""The operations of a gpt-oss layer as pure functions on float32 arrays.

Axes: M rows (tokens), I inputs, O outputs, H hidden, E experts, K experts per token, F = 2·intermediate (gate and up
interleaved), G intermediate, T keys, D head_dim, X any leading axes. Formulas: transformers 4.56 ``modeling_gpt_oss``.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from toolkit.numerics import nvfp4

F32 = NDArray[np.float32]
Ints = NDArray[np.intp]

GEMV_ROWS = 3
TRANSPOSED_ROWS = 64
SWIGLU_ALPHA = np.float32(1.702)
LARGEST_EXPONENT = np.float32(88.0)  # exp() of more is inf in float32


@dataclass(frozen=True, slots=True)
class Linear:
    """``x @ weight_OI.T + bias_O``. With ``input_scale`` the input is quantised to NVFP4 first (W4A4)."""

    weight_OI: F32
    bias_O: F32 | None = None
    input_scale: float | None = None


class ExpertWeight(Protocol):
    """One matrix per expert: an array [E, O, I], or something that makes expert ``e`` when asked."""

    def __getitem__(self, expert: int, /) -> F32: ...


@dataclass(frozen=True, slots=True)
class Experts:
    """The experts of one layer; ``gate_up`` gives [F, H] and ``down`` [H, G] per expert."""

    gate_up: ExpertWeight
    gate_up_bias_EF: F32
    down: ExpertWeight
    down_bias_EH: F32
    gate_up_input_scale: float | None = None
    down_input_scale: float | None = None


def matmul(x_MI: F32, weight_OI: F32) -> F32:
    """``x_MI @ weight_OI.T`` [M, O] by the form that BLAS is fastest at for this number of rows.

    A GEMM of few rows costs several matrix-vector products, so up to ``GEMV_ROWS`` rows are done one by one; up to
    ``TRANSPOSED_ROWS`` the weight stands first, because BLAS packs it better there.
    """
    rows = x_MI.shape[0]
    if 1 < rows <= GEMV_ROWS:
        out_MO = np.empty((rows, weight_OI.shape[0]), np.float32)
        for x_I, out_O in zip(x_MI, out_MO, strict=True):
            np.dot(weight_OI, x_I, out=out_O)
        return out_MO
    if 1 < rows <= TRANSPOSED_ROWS:
        transposed_MO: F32 = (weight_OI @ x_MI.T).T
        return transposed_MO
    product_MO: F32 = x_MI @ weight_OI.T
    return product_MO


def linear(x_MI: F32, layer: Linear) -> F32:
    """[M, O], C-contiguous."""
    y_MO = matmul(quantized(x_MI, layer.input_scale), layer.weight_OI)
    return np.ascontiguousarray(y_MO) if layer.bias_O is None else np.add(y_MO, layer.bias_O, order="C")


def quantized(x_MI: F32, input_scale: float | None) -> F32:
    """What an NVFP4 kernel sees of the activations; unchanged where ``input_scale`` is None."""
    return x_MI if input_scale is None else nvfp4.fake_quantize_activation(x_MI, input_scale)


def rms_norm(x_MH: F32, weight_H: F32, eps: float) -> F32:
    """``weight · x / sqrt(mean(x²) + eps)`` [M, H]."""
    mean_M1 = np.einsum("mh,mh->m", x_MH, x_MH)[:, None] / np.float32(x_MH.shape[1])
    normed_MH: F32 = x_MH * (np.float32(1.0) / np.sqrt(mean_M1 + np.float32(eps)))
    normed_MH *= weight_H
    return normed_MH


def attend(q_XMD: F32, k_XTD: F32, v_XTD: F32, sinks_XM: F32, bias_XMT: F32 | None) -> F32:
    """Softmax attention with sinks [..., M, D].

    ``q`` comes scaled. A sink is the logit of a key without a value: it adds to the denominator and to nothing else.
    ``bias`` is added to the scores: 0 where a key is seen, -inf where not; every row must see a key.
    """
    weights_XMT: F32 = np.matmul(q_XMD, np.swapaxes(k_XTD, -1, -2))
    if bias_XMT is not None:
        weights_XMT += bias_XMT
    largest_XM = np.maximum(weights_XMT.max(axis=-1), sinks_XM)
    weights_XMT -= largest_XM[..., None]
    np.exp(weights_XMT, out=weights_XMT)
    total_XM = weights_XMT.sum(axis=-1) + np.exp(sinks_XM - largest_XM)
    out_XMD: F32 = np.matmul(weights_XMT, v_XTD)
    out_XMD /= total_XM[..., None]
    return out_XMD


def route(logits_ME: F32, k: int) -> tuple[Ints, F32]:
    """The ``k`` experts of each token [M, K] and their shares [M, K]: top-k first, then softmax over those k."""
    chosen_MK = np.argpartition(logits_ME, -k, axis=-1)[:, -k:] if k < logits_ME.shape[1] else _all(logits_ME)
    top_MK = np.take_along_axis(logits_ME, chosen_MK, axis=-1)
    share_MK: F32 = np.exp(top_MK - top_MK.max(axis=-1, keepdims=True))
    share_MK /= share_MK.sum(axis=-1, keepdims=True)
    return chosen_MK, share_MK


def _all(logits_ME: F32) -> Ints:
    return np.broadcast_to(np.arange(logits_ME.shape[1]), logits_ME.shape)


def swiglu(gate_up_MF: F32, limit: float) -> F32:
    """``gate · σ(1.702 · gate) · (up + 1)`` [M, G]; gate at most ``limit``, up within ± ``limit``.

    Even columns of ``gate_up_MF`` are gate, odd ones up.
    """
    gate_MG = np.minimum(gate_up_MF[:, ::2], np.float32(limit))
    up_MG = np.clip(gate_up_MF[:, 1::2], np.float32(-limit), np.float32(limit))
    up_MG += np.float32(1.0)
    up_MG *= gate_MG
    gate_MG *= -SWIGLU_ALPHA
    np.minimum(gate_MG, LARGEST_EXPONENT, out=gate_MG)
    np.exp(gate_MG, out=gate_MG)
    gate_MG += np.float32(1.0)
    up_MG /= gate_MG
    return up_MG


def mix_experts(x_MH: F32, experts: Experts, chosen_MK: Ints, share_MK: F32, limit: float) -> F32:
    """Each token through its experts, weighted by ``share_MK`` [M, H].

    The (token, expert) pairs are sorted by expert, so each matrix is used once and all else runs on whole arrays.
    """
    rows, k = chosen_MK.shape
    expert_P = chosen_MK.ravel()
    order_P = np.argsort(expert_P, kind="stable")
    sorted_P = expert_P[order_P]
    spans = _spans(sorted_P)
    x_PH = quantized(x_MH, experts.gate_up_input_scale)[order_P // k]
    gate_up_PF = _by_expert(x_PH, experts.gate_up, spans, experts.gate_up_bias_EF.shape[1])
    gate_up_PF += experts.gate_up_bias_EF[sorted_P]
    hidden_PG = quantized(swiglu(gate_up_PF, limit), experts.down_input_scale)
    out_PH = _by_expert(hidden_PG, experts.down, spans, x_MH.shape[1])
    out_PH += experts.down_bias_EH[sorted_P]
    unsorted_PH = np.empty_like(out_PH)
    unsorted_PH[order_P] = out_PH
    mixed_M1H: F32 = np.matmul(share_MK[:, None, :], unsorted_PH.reshape(rows, k, -1))
    return mixed_M1H[:, 0]


def _spans(sorted_P: Ints) -> list[tuple[int, int, int]]:
    """(expert, begin, end) of each run of equal values."""
    begins = [0, *(np.flatnonzero(sorted_P[1:] != sorted_P[:-1]) + 1).tolist(), sorted_P.size]
    return [(int(sorted_P[begin]), begin, end) for begin, end in pairwise(begins)]


def _by_expert(x_PI: F32, weight: ExpertWeight, spans: list[tuple[int, int, int]], width: int) -> F32:
    out_PO = np.empty((x_PI.shape[0], width), np.float32)
    for expert, begin, end in spans:
        out_PO[begin:end] = matmul(x_PI[begin:end], weight[expert])
    return out_PO

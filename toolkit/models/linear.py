"""Tensors of one Linear in the formats that ModelOpt and transformers write.

========  ============================================  ==================================================
format    weight                                        scales
========  ============================================  ==================================================
nvfp4     U8 [out, in/2], low nibble = even column      weight_scale F8_E4M3 [out, in/16], weight_scale_2
                                                        F32 [], input_scale F32 []
fp8       F8_E4M3 [out, in]                             weight_scale F32 [], input_scale F32 []
bf16      BF16 [out, in]                                none
========  ============================================  ==================================================

Read off exports of ModelOpt 0.37.0 (``tools/model_layouts.py``). A bias is BF16 [out].
"""

from __future__ import annotations

from collections.abc import Iterator

from toolkit.models.geometry import Spec
from toolkit.models.layout import Format
from toolkit.numerics import nvfp4


def linear(name: str, shape: tuple[int, int], stored: Format, *, bias: bool = False) -> Iterator[tuple[str, Spec]]:
    """Name → (dtype, shape) of Linear ``name`` with weight [out, in]; ``ValueError`` for MXFP4, which no Linear has."""
    out, k = shape
    if bias:
        yield name + ".bias", ("BF16", (out,))
    if stored == "bf16":
        yield name + ".weight", ("BF16", shape)
    elif stored == "fp8":
        yield name + ".weight", ("F8_E4M3", shape)
        yield name + ".weight_scale", ("F32", ())
        yield name + ".input_scale", ("F32", ())
    elif stored == "nvfp4":
        yield name + ".weight", ("U8", (out, k // 2))
        yield name + ".weight_scale", ("F8_E4M3", (out, k // nvfp4.BLOCK))
        yield name + ".weight_scale_2", ("F32", ())
        yield name + ".input_scale", ("F32", ())
    else:
        raise ValueError(f"no producer stores a Linear as {stored}")

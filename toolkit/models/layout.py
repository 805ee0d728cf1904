"""The formats that a checkpoint's large weights come in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from toolkit.checkpoint.header import TensorInfo
from toolkit.errors import CheckpointError
from toolkit.models.geometry import Geometry

Format = Literal["nvfp4", "mxfp4", "bf16", "fp8"]

MXFP4_HINT = (
    "TensorRT-LLM serves MXFP4 as it is, without trtkit; for NVFP4, export it with ModelOpt 0.45 or later: "
    "hf_ptq.py --qformat nvfp4_mlp_only --cast_mxfp4_to_nvfp4"
)


@dataclass(frozen=True, slots=True)
class Layout:
    """How the two kinds of large weights are stored: attention projections, and the FFN or its experts."""

    attention: Format
    ffn: Format

    @property
    def experts(self) -> Format:
        return self.ffn


def match(found: Mapping[str, TensorInfo], geometry: Geometry, where: str) -> Layout:
    """``gpt_oss.FAMILY.match`` for a caller that takes NVFP4 and BF16 only."""
    from toolkit.models import gpt_oss

    layout = gpt_oss.FAMILY.match(found, geometry, where)
    if layout.ffn == "mxfp4":
        raise CheckpointError("the experts are MXFP4, not NVFP4", where=where, hint=MXFP4_HINT)
    return layout

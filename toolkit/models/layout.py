"""The formats that a checkpoint's large weights come in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Format = Literal["nvfp4", "mxfp4", "bf16", "fp8"]


@dataclass(frozen=True, slots=True)
class Layout:
    """How the two kinds of large weights are stored: attention projections, and the FFN or its experts."""

    attention: Format
    ffn: Format

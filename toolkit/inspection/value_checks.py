"""Checks of block scales and packed weights, from the counts of ``toolkit.inspection.values``."""

from __future__ import annotations

from collections.abc import Iterator

from toolkit.inspection.finding import Finding
from toolkit.inspection.subject import count, place
from toolkit.inspection.values import SCALE, Deep, ModuleValues, add
from toolkit.numerics import fp8

IDS = ("nan-block-scales", "underflowed-blocks", "four-over-six", "cast-from-mxfp4")
_NAN_BYTES = (0x7F, 0xFF)
_LARGEST_OF_FOUR_OVER_SIX = 256.0  # also 2^8, the largest power of two in E4M3


def value_findings(deep: Deep) -> tuple[Finding, ...]:
    """One finding of a kind, at the first tensor that has it."""
    return (*_nan(deep), *_underflowed(deep), *_scale_range(deep))


def _nan(deep: Deep) -> Iterator[Finding]:
    if found := [each for each in deep.modules if each.values.nan_scales]:
        scales = sum(each.values.nan_scales for each in found)
        detail = (
            f"{scales:,} of {deep.total.blocks:,} block scales are NaN, in {count(found, 'tensor')}, the first at byte "
            f"{found[0].first_nan}: those blocks decode to NaN. ModelOpt writes it for a tensor that is all zero"
        )
        repair = "Fetch the file again or quantise it again; a block of zeros needs scale 1.0 (0x38) and codes 0"
        yield Finding("nan-block-scales", "error", _place(found[0]), detail, repair)


def _underflowed(deep: Deep) -> Iterator[Finding]:
    if found := [each for each in deep.modules if each.values.zero_scales]:
        scales = sum(each.values.zero_scales for each in found)
        detail = (
            f"{scales:,} of {deep.total.blocks:,} block scales are 0, in {count(found, 'tensor')}, the first at byte "
            f"{found[0].first_zero}: the block was too small for E4M3 and decodes to 0, as ModelOpt up to 0.44 has it"
        )
        repair = "None needed; scale 0x01 with codes 0 has the same value"
        yield Finding("underflowed-blocks", "info", _place(found[0]), detail, repair)


def _scale_range(deep: Deep) -> Iterator[Finding]:
    """Where no E4M3 scale is above 256: either scales are powers of two, or the quantiser divided by 6·256."""
    nvfp4 = [each for each in deep.modules if each.module.format == "nvfp4"]
    used = [byte for byte, scales in enumerate(add(each.values for each in nvfp4).histogram) if scales]
    values = [float(fp8.E4M3[byte]) for byte in used if byte not in _NAN_BYTES]
    if not values or max(values) != _LARGEST_OF_FOUR_OVER_SIX:
        return
    if all(value > 0 and value.hex().startswith("0x1.0000000000000p") for value in values):
        detail = "every block scale is a power of two up to 256, as the lossless cast from MXFP4 writes them"
        yield Finding("cast-from-mxfp4", "info", _place(nvfp4[0]), detail, "None needed")
    else:
        detail = (
            "the largest block scale is 256, not 448, as ModelOpt's Four-over-Six writes it (0.46 and later): "
            "a tensor's amax is weight_scale_2 · 1536"
        )
        yield Finding("four-over-six", "info", _place(nvfp4[0]), detail, "None needed")


def _place(found: ModuleValues) -> str:
    return place(found.module.tensors[SCALE[found.module.format]])

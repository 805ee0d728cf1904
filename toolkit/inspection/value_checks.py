"""Checks of block scales and packed weights, from the counts of ``toolkit.inspection.values``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from toolkit.inspection.finding import Finding
from toolkit.inspection.subject import count, place
from toolkit.inspection.values import Deep, ModuleValues
from toolkit.numerics import fp8

IDS = ("nan-block-scales", "negative-block-scales", "underflowed-blocks", "four-over-six", "cast-from-mxfp4")
_LARGEST_OF_FOUR_OVER_SIX = 256.0  # also 2^8, the largest power of two in E4M3


def value_findings(deep: Deep) -> tuple[Finding, ...]:
    """One finding of a kind, at the first tensor that has it; of NaN one for E4M3 and one for E8M0."""
    return (*_nan(deep), *_negative(deep), *_underflowed(deep), *_scale_range(deep))


def _nan(deep: Deep) -> Iterator[Finding]:
    every = [each for each in deep.modules if each.values.nan_scales]
    if found := [each for each in every if each.module.format != "mxfp4"]:
        detail = (
            f"{_share(deep, found, 'nan_scales')} are NaN, in {count(found, 'tensor')}, the first at byte "
            f"{found[0].first_nan}: those blocks decode to NaN. ModelOpt writes it for a tensor that is all zero"
        )
        repair = "Fetch the file again or quantise it again; a block of zeros needs scale 1.0 (0x38) and codes 0"
        yield Finding("nan-block-scales", "error", _place(found[0]), detail, repair)
    if found := [each for each in every if each.module.format == "mxfp4"]:
        detail = (
            f"{_share(deep, found, 'nan_scales')} are NaN (0xFF), in {count(found, 'tensor')}, the first at byte "
            f"{found[0].first_nan}: those blocks decode to NaN"
        )
        repair = "Fetch the file again, or export it again from weights without NaN"
        yield Finding("nan-block-scales", "error", _place(found[0]), detail, repair)


def _negative(deep: Deep) -> Iterator[Finding]:
    if found := [each for each in deep.modules if each.values.negative_scales]:
        detail = (
            f"{_share(deep, found, 'negative_scales')} are negative, in {count(found, 'tensor')}, the first at byte "
            f"{found[0].first_negative}: no quantiser writes them, so the bytes are damaged or are no E4M3 scales"
        )
        yield Finding("negative-block-scales", "error", _place(found[0]), detail, "Fetch the file again")


def _underflowed(deep: Deep) -> Iterator[Finding]:
    if found := [each for each in deep.modules if each.values.zero_scales]:
        detail = (
            f"{_share(deep, found, 'zero_scales')} are 0, in {count(found, 'tensor')}, the first at byte "
            f"{found[0].first_zero}: the block was too small for E4M3 and decodes to 0, as ModelOpt up to 0.44 has it"
        )
        repair = "None needed; scale 0x01 with codes 0 has the same value"
        yield Finding("underflowed-blocks", "info", _place(found[0]), detail, repair)


def _scale_range(deep: Deep) -> Iterator[Finding]:
    """Where a tensor's largest E4M3 scale is 256: scales are powers of two, or the quantiser divided by 6·256.

    A cast is told tensor by tensor. A tensor that shares its tensor scale with others may have any largest scale, so
    that Four-over-Six is found only where no tensor but a cast one is above 256.
    """
    scales = [(each, _positive_scales(each)) for each in deep.modules if each.module.format == "nvfp4"]
    up_to_256 = [(each, used) for each, used in scales if max(used, default=0) == _LARGEST_OF_FOUR_OVER_SIX]
    cast = [each for each, used in up_to_256 if all(map(_is_power_of_two, used))]
    others = [each for each, used in up_to_256 if not all(map(_is_power_of_two, used))]
    if cast:
        detail = (
            f"every block scale of {count(cast, 'tensor')} is a power of two up to 256, as the lossless cast from "
            "MXFP4 writes them"
        )
        yield Finding("cast-from-mxfp4", "info", _place(cast[0]), detail, "None needed")
    if others and max(max(used, default=0) for _, used in scales) == _LARGEST_OF_FOUR_OVER_SIX:
        detail = (
            "the largest block scale is 256, not 448, as ModelOpt's Four-over-Six writes it (0.46 and later): "
            "a tensor's amax is weight_scale_2 · 1536"
        )
        yield Finding("four-over-six", "info", _place(others[0]), detail, "None needed")


def _positive_scales(found: ModuleValues) -> list[float]:
    """The E4M3 values in use; a block that underflowed to 0 tells nothing of the quantiser."""
    used = (float(fp8.E4M3[byte]) for byte, scales in enumerate(found.values.histogram) if scales)
    return [value for value in used if value > 0]


def _is_power_of_two(value: float) -> bool:
    return math.frexp(value)[0] == 0.5


def _share(deep: Deep, found: Sequence[ModuleValues], kind: str) -> str:
    """``3 of 5,376 block scales``."""
    return f"{sum(getattr(each.values, kind) for each in found):,} of {deep.total.blocks:,} block scales"


def _place(found: ModuleValues) -> str:
    return place(found.module.block_scales)

"""An inspection for a person to read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from toolkit.checkpoint.quant import QuantSummary
from toolkit.checkpoint.source import TOKENIZER
from toolkit.inspection.finding import Finding
from toolkit.inspection.foreign import shown
from toolkit.inspection.groups import groups, pattern
from toolkit.inspection.inspection import Inspection
from toolkit.inspection.modules import PACKED
from toolkit.inspection.subject import count, listed, plural
from toolkit.inspection.value_checks import IDS as VALUE_CHECKS
from toolkit.inspection.values import Deep, Values, add
from toolkit.numerics import fp8

LONG = 1000  # characters of a sentence with foreign words in it; single ones are cut where they are put in


def to_text(inspection: Inspection) -> str:
    """Identity, formats, dtypes, what reading the weights found, findings and the checks that were not made."""
    return "\n".join(
        [
            *_identity(inspection),
            "",
            *_formats(inspection),
            "",
            *_dtypes(inspection),
            *(_deep(inspection.deep) if inspection.deep is not None else ()),
            "",
            *_findings(inspection.findings),
            *_not_made(inspection),
        ]
    )


def _identity(inspection: Inspection) -> Iterator[str]:
    tensors = plural(sum(stored.tensors for stored in inspection.dtypes.values()), "tensor")
    what = f"{shown(inspection.architecture)}, {_count(inspection.parameters)} parameters"
    yield f"{shown(inspection.where, LONG)}: {what}"
    yield f"  weights       {tensors}, {_bytes(inspection.nbytes)}, {count(inspection.shards, 'shard')}"
    yield f"  quantisation  {_quantisation(inspection.quant)}"
    if inspection.quant is not None:
        yield f"  excluded      {listed(inspection.quant.exclude_modules) or 'nothing'}"
        yield f"  KV cache      {shown(inspection.quant.kv_cache_algo or 'not quantised')}"
    yield f"  tokenizer     {TOKENIZER if inspection.tokenizer else f'no {TOKENIZER}'}"


def _quantisation(quant: QuantSummary | None) -> str:
    if quant is None:
        return "none"
    group = f", group size {quant.group_size}" if quant.group_size is not None else ""
    producer = f", by {shown(quant.producer)} {shown(quant.version or '')}".rstrip() if quant.producer else ""
    return f"{shown(quant.algo or 'unnamed')}{group}{producer}"


def _formats(inspection: Inspection) -> list[str]:
    rows = [
        (
            shown(group.name),
            group.format,
            _shape(group.shape),
            f"{group.count:,}",
            f"{group.parameters:,}",
            f"{group.nbytes:,}",
        )
        for group in groups(inspection.modules)
    ]
    return _table(("module", "format", "shape", "count", "parameters", "bytes"), rows, left=2)


def _dtypes(inspection: Inspection) -> list[str]:
    rows = [
        (dtype, f"{stored.tensors:,}", f"{stored.elements:,}", f"{stored.nbytes:,}")
        for dtype, stored in inspection.dtypes.items()
    ]
    return _table(("dtype", "tensors", "elements", "bytes"), rows, left=1)


def _deep(deep: Deep) -> Iterator[str]:
    merged: dict[tuple[str, str], list[Values]] = {}
    for each in deep.modules:
        merged.setdefault((pattern(each.module.name), each.module.format), []).append(each.values)
    rows = [(shown(name), format, *_value_cells(add(values))) for (name, format), values in merged.items()]
    head = ("module", "format", "blocks", "at ±6", "zero blocks", "NaN scales", "zero scales")
    yield ""
    yield from _table(head, [*rows, ("total", "", *_value_cells(deep.total))], left=2)
    if deep.skipped:
        yield f"  not read: {listed(deep.skipped)}"
    nvfp4 = [each.values for each in deep.modules if each.module.format != "mxfp4"]
    if nvfp4:
        yield ""
        yield from _table(("E4M3 block scales", "count", "share"), list(_octaves(add(nvfp4))), left=1)


def _value_cells(values: Values) -> tuple[str, ...]:
    counts = (values.zero_blocks, values.nan_scales, values.zero_scales)
    return (f"{values.blocks:,}", _share(values.saturated, values.weights), *(f"{each:,}" for each in counts))


def _octaves(values: Values) -> Iterator[tuple[str, str, str]]:
    """The histogram by powers of two; NaN and zero have columns of their own above."""
    octaves: dict[int, int] = {}
    for byte, scales in enumerate(values.histogram):
        value = float(fp8.E4M3[byte])
        if scales and value > 0:
            exponent = _exponent(value)
            octaves[exponent] = octaves.get(exponent, 0) + scales
    for exponent, scales in sorted(octaves.items()):
        yield f"2^{exponent} to 2^{exponent + 1}", f"{scales:,}", _share(scales, values.blocks)


def _exponent(value: float) -> int:
    return int(value.hex().partition("p")[2])


def _findings(findings: Sequence[Finding]) -> Iterator[str]:
    if not findings:
        yield "no findings"
    for finding in findings:
        yield f"{finding.severity:<8}{finding.id}: {shown(finding.where, LONG)}"
        yield f"        {shown(finding.detail, LONG)}"
        yield f"        repair: {shown(finding.repair, LONG)}"


def _not_made(inspection: Inspection) -> Iterator[str]:
    has_fp4 = any(module.format in PACKED for module in inspection.modules)
    weights = [check for check in inspection.not_made if check in VALUE_CHECKS and has_fp4]
    scalars = [check for check in inspection.not_made if check not in VALUE_CHECKS]
    if scalars:
        yield f"not checked, needs the files here: {', '.join(scalars)}"
    if weights:
        yield f"not checked, needs --deep: {', '.join(weights)}"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]], *, left: int) -> list[str]:
    """Columns two blanks apart, the first ``left`` of them flush left."""
    lines = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  " + "  ".join(_cells(line, widths, left)).rstrip() for line in lines]


def _cells(line: tuple[str, ...], widths: Sequence[int], left: int) -> Iterator[str]:
    for index, (cell, width) in enumerate(zip(line, widths, strict=True)):
        yield cell.ljust(width) if index < left else cell.rjust(width)


def _shape(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "scalar"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.2%}" if whole else "-"


def _count(number: int) -> str:
    """``116.83 B`` beside the exact figure where that is long."""
    short = f" ({number / 1e9:.2f} B)" if number >= 10**9 else ""
    return f"{number:,}{short}"


def _bytes(number: int) -> str:
    return f"{number:,} bytes" + (f" ({number / 2**30:.2f} GiB)" if number >= 2**30 else "")

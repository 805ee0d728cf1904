"""What a checkpoint's JSON says of its quantisation, held against its tensors: loaders go by ``quant_algo``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from toolkit.checkpoint.census import Census
from toolkit.inspection.declared import MIXED, algorithm, inline_config
from toolkit.inspection.layout_checks import WEIGHT_ONLY
from toolkit.models.layout import Format, Layout
from toolkit.numerics import nvfp4
from toolkit.plan.cite import cite
from toolkit.plan.types import Refusal
from toolkit.trtllm import Release

ALGOS: Mapping[Format, str] = {"nvfp4": "NVFP4", "mxfp4": "MXFP4", "fp8": "FP8"}
QUANTISE = "Quantise the BF16 model with ModelOpt first: hf_ptq.py --qformat nvfp4"


def algo_of(layout: Layout) -> str | None:
    """``quant_algo`` of weights in ``layout``; None where nothing is quantised."""
    found = {layout.attention, layout.ffn} - {"bf16"}
    return MIXED if len(found) > 1 else next((ALGOS[fmt] for fmt in found), None)


def said(census: Census) -> str | None:
    """``quant_algo`` as the JSON has it, upper case; None where it names none."""
    return algorithm(census) or None


def agrees(census: Census, stored: Layout) -> bool:
    """Whether the JSON says of the tensors what they are."""
    found, group = said(census), census.quant.group_size if census.quant else None
    if found == MIXED:
        return bool({stored.attention, stored.ffn} & {"nvfp4", "fp8"})
    return found == algo_of(stored) and (found != "NVFP4" or group in (None, nvfp4.BLOCK))


def is_recognised(census: Census) -> bool:
    """Whether releases that read ``quantization_config`` take it for ModelOpt's (fact ``inline-recognised``)."""
    inline = inline_config(census)
    method, producer = inline.get("quant_method"), inline.get("producer")
    by_modelopt = isinstance(producer, Mapping) and producer.get("name") == "modelopt"
    return by_modelopt or str(method).startswith("modelopt") or method == "nvfp4"


def is_unread(census: Census, release: Release) -> bool:
    """Whether ``release`` does not read where the checkpoint has its quantisation."""
    return census.quant_config is None and not (release.inline_quant_config and is_recognised(census))


def kv_algo(census: Census, stored: Layout, bundle: Layout) -> str | None:
    """The KV cache's scheme in the JSON of the bundle: it goes where that JSON is dropped or made for MXFP4."""
    is_dropped = algo_of(bundle) in (None, "MXFP4") and (bundle != stored or not agrees(census, stored))
    return None if is_dropped or census.quant is None else census.quant.kv_cache_algo


def refuse(census: Census, stored: Layout, bundle: Layout, others: Sequence[str], *, lists: bool) -> Iterator[Refusal]:
    """What the JSON says that no rewriting makes true of the bundle. ``others`` are other formats that load.

    ``lists``: the loader needs an exclude list or a file that the checkpoint has not.
    """
    found, algo = said(census) or "", algo_of(bundle)
    again = (*others, QUANTISE)
    if algo in (None, "MXFP4") or stored.ffn == "mxfp4":
        return  # the bundle's JSON owes nothing to the checkpoint's
    if "nvfp4" in (bundle.attention, bundle.ffn) and found not in ("NVFP4", MIXED):
        if WEIGHT_ONLY in found:
            what = f"quant_algo is {found}: the weights are NVFP4, but activations were not calibrated"
            yield Refusal(what, again, cite("weight-only-nvfp4"))
            return
        if "NVFP4" in found or "AWQ" in found or "SVD" in found:
            yield Refusal(f"quant_algo is {found}, which is not plain NVFP4", again, cite("other-nvfp4-methods"))
            return
    if algo == MIXED and found != MIXED:
        what = f"attention is {bundle.attention.upper()} and the FFN {bundle.ffn.upper()}, but quant_algo is "
        yield Refusal(f"{what}{found or 'missing'}, not {MIXED}", again, cite("mixed-precision"))
    elif found == MIXED and lists:
        what = f"quant_algo is {MIXED}, whose quantized_layers trtkit does not rewrite for this target"
        yield Refusal(what, again, cite("mixed-precision"))

"""How each known defect shows, one pure function each: in tensor names, dtypes and shapes, and in the exclude list.

Each returns what has the defect, in checkpoint order, empty when nothing has. Those that need the values of scalar
scales are in ``toolkit.inspection.scalars``. What a finding says about them stands in the ``checks``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import translate
from typing import Any

from toolkit.checkpoint.header import TensorInfo
from toolkit.inspection.modules import PACKED, QUANTISED, UNKNOWN, Module, k_axis
from toolkit.numerics.nvfp4 import BLOCK

PLAIN = frozenset({"bf16", "f16", "f32"})
_WILDCARDS = frozenset("*?[")
_END, _MODULE_END = translate("")[-2:], r"(?=\.|\Z)"


def untransposed_scales(tensors: Mapping[str, TensorInfo]) -> tuple[str, ...]:
    """Block scales of fused experts that hold maxima along out: [E, in, out/16] instead of [E, in/16, out].

    ModelOpt 0.35.0 and 0.35.1 write them so for gpt-oss; the packed codes are right.
    """
    return tuple(name for name in tensors if _is_untransposed(name, tensors))


def _is_untransposed(name: str, tensors: Mapping[str, TensorInfo]) -> bool:
    weight = tensors.get(name.removesuffix("_weight_scale"))
    if weight is None or not name.endswith("_weight_scale") or len(weight.shape) != 3:
        return False
    experts, rows, columns = weight.shape
    return tensors[name].shape == (experts, 2 * rows, columns // BLOCK)


def missing_input_scales(tensors: Mapping[str, TensorInfo]) -> tuple[str, ...]:
    """Activation scales that NVFP4 modules of ModelOpt's layout should have and have not; some converters skip them.

    Weight-only exports (W4A16) have none by design.
    """
    stems = (name.removesuffix("weight_scale_2") for name in tensors if name.endswith("weight_scale_2"))
    return tuple(stem + "input_scale" for stem in stems if stem + "input_scale" not in tensors)


def redundant_tensors(tensors: Mapping[str, TensorInfo], config: Mapping[str, Any]) -> tuple[str, ...]:
    """Rotary frequencies, which config.json gives, and the lm_head of tied embeddings, as older tools store them."""
    tied = config.get("tie_word_embeddings") is True and "model.embed_tokens.weight" in tensors
    heads = ("lm_head.weight",) if tied else ()
    return tuple(name for name in tensors if name.endswith(".rotary_emb.inv_freq") or name in heads)


def unknown_formats(modules: Iterable[Module]) -> tuple[Module, ...]:
    """Modules whose tensors form no known format: a packed weight without its scales, scales without a weight …"""
    return tuple(module for module in modules if module.format == UNKNOWN)


def misshapen_scales(modules: Iterable[Module], group: Callable[[Module], int]) -> tuple[Module, ...]:
    """FP4 modules that do not have one block scale for ``group(module)`` weights along K.

    ``untransposed_scales`` are others.
    """
    return tuple(module for module in modules if module.format in PACKED and _is_misshapen(module, group(module)))


def _is_misshapen(module: Module, group: int) -> bool:
    weight, scale = module.weight, module.block_scales
    if weight is None or not weight.shape:
        return True
    both = {weight.name: weight, scale.name: scale}
    return group_size(module) != group and not untransposed_scales(both)


def group_size(module: Module) -> int | None:
    """Weights along K for each block scale as the shapes of an FP4 module have it; None where they do not fit."""
    weight, scale = module.weight, module.block_scales
    if weight is None:
        return None
    if "blocks" in module.tensors:
        return 2 * weight.shape[-1] if weight.shape and scale.shape == weight.shape[:-1] else None
    if len(weight.shape) != len(scale.shape) or not weight.shape:
        return None
    axis = k_axis(module)
    others = [
        (w, s)
        for index, (w, s) in enumerate(zip(weight.shape, scale.shape, strict=True), -len(scale.shape))
        if index != axis
    ]
    k, blocks = module.shape[axis], scale.shape[axis]
    return k // blocks if blocks and k % blocks == 0 and all(w == s for w, s in others) else None


def packed_attention(modules: Iterable[Module]) -> tuple[Module, ...]:
    """NVFP4 attention projections. TensorRT-LLM's gpt-oss NVFP4 loader builds them as BF16 whatever the file says."""
    return tuple(m for m in modules if m.format == "nvfp4" and re.search(r"\.self_attn\.\w+_proj$", m.name))


def duplicate_excludes(excludes: Iterable[str]) -> tuple[str, ...]:
    """Entries that are listed more than once; ModelOpt 0.39 lists lm_head twice."""
    return tuple(entry for entry, count in Counter(excludes).items() if count > 1)


def excluded_but_quantised(modules: Iterable[Module], excludes: Sequence[str]) -> tuple[Module, ...]:
    """Modules on the exclude list whose weight is quantised: a loader builds them unquantised."""
    listed = exclusion(excludes)
    return tuple(module for module in modules if module.format in QUANTISED and listed(module.name))


def unlisted_linears(modules: Iterable[Module], excludes: Sequence[str]) -> tuple[Module, ...]:
    """Unquantised projections that the exclude list does not have: a loader builds them quantised."""
    return tuple(module for module in _unlisted(modules, excludes) if _is_projection(module.name))


def unlisted_others(modules: Iterable[Module], excludes: Sequence[str]) -> tuple[Module, ...]:
    """Unquantised routers, embeddings and other matrices that are not listed, as ModelOpt up to 0.44 leaves them."""
    return tuple(module for module in _unlisted(modules, excludes) if not _is_projection(module.name))


def _unlisted(modules: Iterable[Module], excludes: Sequence[str]) -> Iterable[Module]:
    listed = exclusion(excludes)
    return (m for m in modules if m.format in PLAIN and len(m.shape) >= 2 and not listed(m.name))


def _is_projection(name: str) -> bool:
    return name.endswith("_proj")


def exclusion(excludes: Sequence[str]) -> Callable[[str], bool]:
    """Whether a module, or a module that holds it, is on the list. ModelOpt writes names and ``prefix*``.

    What a name costs grows with its length, with the number of distinct lengths of entries, and with the number of
    entries that have a wildcard elsewhere than at their end.
    """
    exact, prefixes, wild = _sorted_out(excludes)
    lengths, prefix_lengths = {len(entry) for entry in exact}, sorted({len(prefix) for prefix in prefixes})
    # a match that ends before a dot is one of a module that holds this one
    pattern = re.compile("|".join(translate(entry)[: -len(_END)] + _MODULE_END for entry in wild) or "(?!)")

    def listed(name: str) -> bool:
        ends = (end for end in _ends(name) if end in lengths)
        return (
            any(name[:end] in exact for end in ends)
            or any(name[:length] in prefixes for length in prefix_lengths if length <= len(name))
            or pattern.match(name) is not None
        )

    return listed


def _sorted_out(excludes: Sequence[str]) -> tuple[set[str], set[str], list[str]]:
    """(names, what stands before the only wildcard, a final ``*``; other patterns)."""
    once = dict.fromkeys(excludes)
    plain = {entry for entry in once if not _WILDCARDS & set(entry)}
    prefixes = {entry[:-1] for entry in once if entry.endswith("*") and not _WILDCARDS & set(entry[:-1])}
    return plain, prefixes, [entry for entry in once if _WILDCARDS & set(entry.removesuffix("*"))]


def _ends(name: str) -> Iterator[int]:
    """Where the names of the modules that hold ``name`` end, and its own."""
    end = name.find(".")
    while end >= 0:
        yield end
        end = name.find(".", end + 1)
    yield len(name)

"""``LLM(...)`` arguments: the bundle's own, and the few that this adapter needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import yaml

from toolkit.engine.bundle import LLM_ARGS, Bundle
from toolkit.errors import BundleError, EngineError

ALWAYS = {"skip_tokenizer_init": True}
"""Token ids in, token ids out: text is ``toolkit.engine.text``'s business."""

WHERE_KNOWN = {
    "num_postprocess_workers": 0,  # they make text
    "enable_iter_perf_stats": True,  # without it get_stats has nothing
    "enable_mixed_sampler": True,  # 1.0 and 1.1: without it the Torch sampler draws all requests alike
}
UNLESS_GIVEN = ("enable_iter_perf_stats", "enable_mixed_sampler")


def read_args(bundle: Bundle) -> dict[str, Any]:
    """The bundle's ``llm_args.yaml``. Raises EngineError for a compiled engine, BundleError for a damaged file."""
    if bundle.recipe.target.backend != "pytorch":
        raise EngineError(
            "a compiled engine has no LLM arguments, and this adapter serves the PyTorch backend only",
            where=str(bundle.folder),
            hint="Build one: trtkit engine RECIPE --set target.backend=pytorch",
        )
    path = bundle.folder / LLM_ARGS
    try:
        args = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise BundleError(f"cannot read the LLM arguments: {error}", where=str(path)) from None
    if not isinstance(args, dict):
        raise BundleError("the LLM arguments are not a mapping", where=str(path))
    return args


def llm_kwargs(
    checkpoint: str,
    args: Mapping[str, Any],
    fields: frozenset[str] | None,
    expand: Callable[[Mapping[str, Any]], dict[str, Any]],
) -> dict[str, Any]:
    """Keywords of ``LLM``. ``fields`` are the names that the installed release takes, None if unknown."""
    added = {
        name: value
        for name, value in WHERE_KNOWN.items()
        if fields is not None and name in fields and not (name in UNLESS_GIVEN and name in args)
    }
    return {"model": checkpoint, **expand(args), **ALWAYS, **added}


def has_cpp_sampler(args: Mapping[str, Any]) -> bool:
    """Whether the bundle chooses the sampler of the C++ runtime, which knows every parameter (up to 1.3)."""
    return args.get("sampler_type") == "TRTLLMSampler" or bool(args.get("enable_trtllm_sampler"))

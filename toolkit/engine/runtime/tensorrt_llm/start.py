"""From a bundle to a running ``LLM``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from toolkit.engine.bundle import Bundle
from toolkit.engine.runtime.tensorrt_llm import api, ranks
from toolkit.engine.runtime.tensorrt_llm.arguments import llm_kwargs
from toolkit.engine.runtime.tensorrt_llm.release import check_release
from toolkit.engine.runtime.tensorrt_llm.words import one_line
from toolkit.errors import EngineError


def find(bundle: Bundle) -> api.Api:
    """The installed package. Raises EngineError where there is none that works and is of the bundle's release."""
    try:
        package = api.load()
    except EngineError as error:
        raise EngineError(error.what, where=str(bundle.folder), hint=error.hint) from None
    check_release(str(bundle.recipe.target.release), package.version, bundle.folder)
    return package


def start(bundle: Bundle, args: Mapping[str, Any], package: api.Api) -> Any:
    """The running ``LLM``. Raises EngineError with one line for whatever keeps it from starting."""
    kwargs = llm_kwargs(str(bundle.checkpoint_dir), args, package.fields, package.expand)
    session = ranks.join()
    try:
        return package.llm(**kwargs, **session)
    except Exception as error:  # anything in the runtime may fail at its start, and it raises what it likes
        what = f"TensorRT-LLM did not start: {type(error).__name__}: {one_line(error)}"
        raise EngineError(what, where=str(bundle.folder)) from error

"""The installed ``tensorrt_llm``: imported once, and what this release of it can do.

``LLM`` and ``SamplingParams`` are exported by the package; ``TorchLlmArgs`` (pydantic) is in ``llmapi.llm_args``, and
``update_llm_args_with_extra_dict`` in ``llmapi.llm_utils`` turns a YAML file's sections into LLM arguments, as NVIDIA's
own Triton model reads its file (model.py @044a90d2).

A sampler takes its parameters out of a request one by one and ignores the others in silence: the Torch sampler of 1.2
knows temperature, top-k and top-p (``UtilsSamplingParams``), that of 1.4 min-p and penalties too (features/sampling.md
@05ce57bc). So its sources are searched for uses of the names (``sampling_config.min_p``), and a request that asks for
one that they do not use is refused.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit.engine.runtime.tensorrt_llm.words import one_line
from toolkit.errors import EngineError

OPTIONAL = ("min_p", "repetition_penalty", "presence_penalty", "frequency_penalty")
"""Sampling parameters that not every release's sampler knows."""

SAMPLERS = ("_torch/pyexecutor/sampl*.py", "_torch/pyexecutor/sampl*/**/*.py")
CHECKOUT_HINT = "Do not start inside a TensorRT-LLM checkout; run in a container that has TensorRT-LLM"


@dataclass(frozen=True, slots=True)
class Api:
    """What the adapter uses of the package. ``fields`` are the names that ``LLM(...)`` takes, None if unknown."""

    version: str
    llm: Callable[..., Any]
    sampling_params: Callable[..., Any]
    fields: frozenset[str] | None = None
    expand: Callable[[Mapping[str, Any]], dict[str, Any]] = dict
    ignored: frozenset[str] = frozenset()


def load() -> Api:
    """Import the package. Raises EngineError with one line that says why it cannot be."""
    package = _import()
    return Api(
        version=str(package.__version__),
        llm=package.LLM,
        sampling_params=package.SamplingParams,
        fields=_fields(),
        expand=_expand(),
        ignored=ignored_by_sampler(Path(package.__file__).parent),
    )


def ignored_by_sampler(package: Path) -> frozenset[str]:
    """The parameters of ``OPTIONAL`` that the Torch sampler's sources never use; empty where there are no sources."""
    paths = [path for pattern in SAMPLERS for path in package.glob(pattern)]
    if not paths:
        return frozenset()
    return frozenset(OPTIONAL) - {name for path in paths for name in _used(path)}


def _used(path: Path) -> Iterator[str]:
    """Names that the code reads or writes as an attribute, passes as a keyword or gives to ``getattr``.

    Comments, texts and annotations are no uses; what is no Python has none.
    """
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.keyword) and node.arg is not None:
            yield node.arg
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "getattr":
            yield from (one.value for one in node.args if isinstance(one, ast.Constant) and isinstance(one.value, str))


def _import() -> Any:
    try:
        package = importlib.import_module("tensorrt_llm")
        if package.__file__ is None:
            raise ImportError("a folder of that name that is no package comes first: " + ", ".join(package.__path__))
        return package
    except ModuleNotFoundError as error:
        if error.name != "tensorrt_llm":
            raise _broken(error, _hint(error)) from None
        raise EngineError(
            "this bundle is for tensorrt-llm, which needs TensorRT-LLM and a GPU",
            hint="Run it in a container that has both, or build one that runs here: "
            "trtkit engine RECIPE --set target.runtime=cpu",
        ) from None
    except (ImportError, OSError, RuntimeError) as error:
        raise _broken(error, _hint(error)) from None


def _broken(error: Exception, hint: str | None) -> EngineError:
    return EngineError(f"TensorRT-LLM is installed but cannot be imported: {one_line(error)}", hint=hint)


def _hint(error: Exception) -> str | None:
    text = str(error)
    if "openai" in text or "PartReasoningText" in text:
        # the Triton containers 26.03 and 26.07 have openai 1.107.3, too old for their TensorRT-LLM
        return "Type: pip install -U openai"
    return CHECKOUT_HINT if "tensorrt_llm.bindings" in text else None


def _fields() -> frozenset[str] | None:
    arguments = _attribute("tensorrt_llm.llmapi.llm_args", "TorchLlmArgs")
    return None if arguments is None else frozenset(arguments.model_fields)


def _expand() -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    update = _attribute("tensorrt_llm.llmapi.llm_utils", "update_llm_args_with_extra_dict")
    return dict if update is None else lambda args: dict(update({}, dict(args)))


def _attribute(module: str, name: str) -> Any:
    try:
        return getattr(importlib.import_module(module), name, None)
    except ImportError:
        return None

"""Look into the installed TensorRT-LLM from a process of its own: its import is slow, prints and may not return."""

from __future__ import annotations

import sys

from toolkit.bench.environment.command import run
from toolkit.preflight.known import Feature
from toolkit.preflight.machine import Probed

TIMEOUT_S = 180.0
MARK = "trtkit-probe:"
CODE = "import importlib, sys; module, name, attribute, mark = sys.argv[1:]; \
print(mark + str(hasattr(getattr(importlib.import_module(module), name), attribute)))"


def probe(feature: Feature, timeout_s: float = TIMEOUT_S) -> Probed:
    """Whether the feature is in the TensorRT-LLM that this Python imports. Raises nothing."""
    # -P: a TensorRT-LLM checkout as the current folder would be imported instead
    argv = [sys.executable, "-P", "-c", CODE, feature.module, feature.object, feature.attribute, MARK]
    try:
        answer = run(argv, timeout_s)
    except OSError as error:
        return Probed(problem=f"Python cannot be started ({error.strerror})")
    if answer.code is None:
        return Probed(problem=f"importing {feature.module} took more than {timeout_s:g} s")
    # its banner goes to stdout, before and perhaps after
    said = [line.removeprefix(MARK) for line in answer.out.splitlines() if line.startswith(MARK)]
    if answer.code != 0 or not said:
        return Probed(problem=f"{feature.module} cannot be imported: {answer.complaint[:160]}")
    return Probed(found=said[-1] == "True")

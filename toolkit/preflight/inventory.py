"""What this machine has of what trtkit can use."""

from __future__ import annotations

import importlib.util
import os
import platform
from dataclasses import replace

from toolkit.bench.environment import nvidia_smi
from toolkit.bench.environment.devices import Nvidia
from toolkit.chat import vocabulary
from toolkit.engine.versions import versions
from toolkit.errors import TrtkitError
from toolkit.numerics import backend
from toolkit.preflight.checks_gpu import described
from toolkit.preflight.finding import Finding
from toolkit.preflight.gather import cpu_triton
from toolkit.preflight.machine import Part


def examine() -> list[Finding]:
    """Look at the interpreter, the CPU runtime, the codecs, Triton, the extras, the GPUs and TensorRT-LLM."""
    found = versions()
    release = found["tensorrt-llm"]
    return [
        Finding("python", "ok", f"{found['python']} on {platform.system()} {platform.machine()}"),
        Finding("cpu", "ok", f"CPU runtime with NumPy {found['numpy']}, {os.cpu_count()} cores"),
        _codecs(),
        _part("triton", cpu_triton()),
        _extra("report", ("altair", "vl_convert")),
        _chat(),
        _gpus(nvidia_smi.query()),
        Finding("tensorrt", "ok", f"tensorrt-llm {release}")
        if release
        else Finding("tensorrt", "skip", "comes with NVIDIA's containers"),
    ]


def _codecs() -> Finding:
    """Both ways give the same bytes; NumPy takes longer."""
    try:
        used = backend.name()
    except TrtkitError as error:
        return Finding("codecs", "fail", error.what, error.hint)
    if used != "numpy":
        return Finding("codecs", "ok", f"C kernels, {used.removeprefix('c ')}")
    if (problem := backend.problem()) is not None:
        return Finding("codecs", "ok", f"NumPy: the C kernels are {problem}", backend.BUILD)
    return Finding("codecs", "ok", f"NumPy, as {backend.VARIABLE} says")


def _part(name: str, part: Part) -> Finding:
    return Finding(name, "skip" if part.problem else "ok", part.problem or part.detail, part.fix)


def _gpus(found: Nvidia) -> Finding:
    if found.problem is not None:
        return Finding("gpu", "skip", found.problem)
    listed = ", ".join(described(device) for device in found.devices)
    return Finding("gpu", "ok", f"{listed}; driver {found.driver}, CUDA {found.cuda}")


def _chat() -> Finding:
    """The extra ``chat``, and where Harmony's vocabulary comes from."""
    found = _extra("chat", ("openai_harmony", "jinja2"))
    if found.status != "ok":
        return found
    place = vocabulary.find()
    where = f"is at {place.path}" if place else "comes from the tokenizer.json of gpt-oss"
    return replace(found, detail=f"{found.detail}; Harmony's vocabulary {where}")


def _extra(name: str, packages: tuple[str, ...]) -> Finding:
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        return Finding(name, "skip", f"missing {', '.join(missing)}", f"Type: pip install 'trtkit[{name}]'")
    return Finding(name, "ok", ", ".join(packages))

"""Layouts that transformers and ModelOpt really wrote: ``layouts.json``, made by ``tools/model_layouts.py``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from toolkit.checkpoint.header import TensorInfo
from toolkit.models.geometry import Geometry, Spec
from toolkit.models.layout import Layout
from toolkit.models.registry import Family, find

_FILE = json.loads((Path(__file__).parent / "layouts.json").read_text())
VERSIONS: dict[str, str] = _FILE["versions"]
CASES: dict[str, dict[str, Any]] = _FILE["cases"]
SHARD = "model.safetensors"


def case(name: str) -> tuple[Family, Geometry, dict[str, Spec]]:
    """Family, geometry and tensors of one entry."""
    entry = CASES[name]
    family = find(entry["config"]["architectures"][0])
    assert family is not None
    tensors = {tensor: (dtype, tuple(shape)) for tensor, (dtype, shape) in entry["tensors"].items()}
    return family, family.geometry(entry["config"], "folder"), tensors


def infos(tensors: dict[str, Spec]) -> dict[str, TensorInfo]:
    """As headers give them; the byte offsets play no role here."""
    return {name: TensorInfo(name, dtype, shape, SHARD, 0, 0) for name, (dtype, shape) in tensors.items()}


def layout(name: str) -> Layout:
    """What the entry's own name says of it."""
    stored = name.removeprefix("qwen3-moe-").removeprefix("gpt-oss-").removeprefix("llama-").split("-")[0]
    attention = "bf16" if "mlp-only" in name or stored == "mxfp4" else stored
    return Layout(attention=attention, ffn=stored)  # type: ignore[arg-type]

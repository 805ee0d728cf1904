"""Builders for tiny safetensors files and checkpoint folders, valid or not.

They write the bytes themselves, so that what they make does not depend on the code under test.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

INDEX = "model.safetensors.index.json"
Tensors = Mapping[str, tuple[str, np.ndarray]]  # name: (safetensors dtype, its bytes as an array of the same shape)


def safetensors_bytes(header: Mapping[str, Any] | bytes, data: bytes = b"") -> bytes:
    """A file with this header, whatever it says, and this data area."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(dtype: str, shape: list[int], begin: int, end: int) -> dict[str, Any]:
    """A header entry; offsets count from the start of the data area."""
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def write_safetensors(path: Path, tensors: Tensors, metadata: Mapping[str, str] | None = None) -> Path:
    """A valid file with ``tensors`` in this order."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    data = b""
    for name, (dtype, array) in tensors.items():
        header[name] = entry(dtype, list(array.shape), len(data), len(data) + array.nbytes)
        data += array.tobytes()
    path.write_bytes(safetensors_bytes(header, data))
    return path


def write_json(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value))
    return path


def write_checkpoint(
    folder: Path,
    shards: Mapping[str, Tensors],
    *,
    config: Mapping[str, Any] | None = None,
    quant_config: Mapping[str, Any] | None = None,
    weight_map: Mapping[str, str] | None = None,
) -> Path:
    """A checkpoint folder. An index is written for several shards, or when ``weight_map`` says what it shall claim."""
    folder.mkdir(parents=True, exist_ok=True)
    for file, tensors in shards.items():
        write_safetensors(folder / file, tensors)
    if weight_map is None and len(shards) > 1:
        weight_map = {name: file for file, tensors in shards.items() for name in tensors}
    if weight_map is not None:
        write_json(folder / INDEX, {"metadata": {}, "weight_map": dict(weight_map)})
    write_json(folder / "config.json", {"architectures": ["GptOssForCausalLM"]} if config is None else dict(config))
    if quant_config is not None:
        write_json(folder / "hf_quant_config.json", dict(quant_config))
    return folder


def example_tensors() -> dict[str, tuple[str, np.ndarray]]:
    """One tensor of each storage kind: raw bits (BF16, FP8), native, a scalar and an empty one."""
    return {
        "scalar": ("F32", np.array(0.25, "<f4")),
        "bf16": ("BF16", np.arange(6, dtype="<u2").reshape(2, 3)),
        "fp8": ("F8_E4M3", np.arange(3, dtype=np.uint8)),
        "packed": ("U8", np.arange(8, dtype=np.uint8).reshape(2, 2, 2)),
        "empty": ("F32", np.empty((0, 4), "<f4")),
        "ids": ("I64", np.array([-1, 2**40], "<i8")),
    }

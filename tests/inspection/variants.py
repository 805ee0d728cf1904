"""Checkpoints read, changed and written without the code under test, and small ones made from a family's shapes."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.helpers import write_checkpoint, write_json
from toolkit.models import registry
from toolkit.models.layout import Layout

TYPES = {"U8": "u1", "I8": "i1", "F8_E4M3": "u1", "F8_E8M0": "u1", "BF16": "<u2", "F32": "<f4"}
EXPORTS = Path(__file__).parent / "exports"
Tensors = dict[str, tuple[str, np.ndarray]]


@dataclass
class Variant:
    """Everything of a checkpoint, to be changed in place. ``tensors`` maps name to (dtype, raw bits)."""

    tensors: Tensors
    config: dict[str, Any]
    quant_config: dict[str, Any] | None
    tokenizer: bool = True

    @classmethod
    def of(cls, folder: Path) -> Variant:
        tensors: Tensors = {}
        for path in sorted(folder.glob("*.safetensors")):
            tensors |= read_tensors(path)
        quant = folder / "hf_quant_config.json"
        return cls(
            tensors,
            json.loads((folder / "config.json").read_text()),
            json.loads(quant.read_text()) if quant.exists() else None,
        )

    @classmethod
    def of_export(cls, name: str) -> Variant:
        """The JSON files, names, dtypes and shapes of an export that ModelOpt 0.37.0 made, with values made up here."""
        document = json.loads((EXPORTS / f"{name}.json").read_text())
        tensors = {
            name: (dtype, _filled(name, dtype, tuple(shape))) for name, (dtype, shape) in document["tensors"].items()
        }
        return cls(tensors, document["config"], document["hf_quant_config"])

    def write(self, folder: Path) -> Path:
        shards = {"model.safetensors": self.tensors}
        write_checkpoint(folder, shards, config=self.config, quant_config=self.quant_config)
        if self.tokenizer:
            write_json(folder / "tokenizer.json", {})
        return folder

    def copy(self) -> Variant:
        """Another one whose dictionaries may be changed; arrays are shared, and read-only."""
        return Variant(dict(self.tensors), copy.deepcopy(self.config), copy.deepcopy(self.quant_config), self.tokenizer)

    def set_version(self, version: str) -> None:
        assert self.quant_config is not None
        self.quant_config["producer"]["version"] = version
        self.config["quantization_config"]["producer"]["version"] = version

    def set_excludes(self, excludes: list[str]) -> None:
        """In both files."""
        assert self.quant_config is not None
        self.quant_config["quantization"]["exclude_modules"] = excludes
        self.config["quantization_config"]["ignore"] = excludes

    def set_algorithm(self, algo: str | None) -> None:
        """In both files."""
        assert self.quant_config is not None
        self.quant_config["quantization"]["quant_algo"] = algo
        self.config["quantization_config"]["quant_algo"] = algo

    def set_group_size(self, size: int) -> None:
        """In both files."""
        assert self.quant_config is not None
        self.quant_config["quantization"]["group_size"] = size
        self.config["quantization_config"]["config_groups"]["group_0"]["weights"]["group_size"] = size

    def set_scalar(self, name: str, value: float) -> None:
        assert self.tensors[name][0] == "F32", name
        self.tensors[name] = ("F32", np.array(value, "<f4"))


def read_tensors(path: Path) -> Tensors:
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    tensors: Tensors = {}
    for name, entry in header.items():
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        array = np.frombuffer(data[begin:end], TYPES[entry["dtype"]]).reshape(entry["shape"])
        tensors[name] = (entry["dtype"], array)
    return tensors


def made(config: Mapping[str, Any], layout: Layout, **quantization: Any) -> Variant:
    """A checkpoint of a known family: block scales 1.0, scalars that no defect has, packed bytes counted up.

    ``quantization`` is for both JSON files, in ``hf_quant_config.json``'s words; none for an unquantised one.
    """
    family = registry.FAMILIES[config["architectures"][0]]
    specs = family.tensors(family.geometry(config, "made"), layout)
    tensors = {name: (dtype, _filled(name, dtype, shape)) for name, (dtype, shape) in specs.items()}
    if not quantization:
        return Variant(tensors, dict(config), None)
    producer = {"name": "modelopt", "version": quantization.pop("version", "0.37.0")}
    said = {"kv_cache_quant_algo": None, "group_size": None, "exclude_modules": [], **quantization}
    inline = {
        "ignore": said["exclude_modules"],
        "quant_algo": said["quant_algo"],
        "producer": producer,
        "quant_method": "modelopt",
    }
    document = {"producer": producer, "quantization": said}
    return Variant(tensors, {**config, "quantization_config": inline}, copy.deepcopy(document))


def _filled(name: str, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    if dtype == "F32":
        expert = name.split(".experts.")[-1].partition(".")[0]
        different = int(expert) if expert.isdecimal() and "down_proj" in name else 0
        return np.full(shape, (0.25 if "input_scale" in name else 0.125) + different / 64, "<f4")
    if dtype == "F8_E4M3":
        return np.full(shape, 0x38, np.uint8)
    size = int(np.prod(shape))
    bits = np.arange(size) % 251
    return (bits.astype(TYPES[dtype]) if dtype in ("U8", "I8") else (bits + 0x3C00).astype("<u2")).reshape(shape)


GPT_OSS = {
    "architectures": ["GptOssForCausalLM"],
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "vocab_size": 64,
    "max_position_embeddings": 4096,
    "sliding_window": 128,
    "layer_types": ["sliding_attention", "full_attention"],
    "tie_word_embeddings": False,
}
QWEN3_MOE = {
    "architectures": ["Qwen3MoeForCausalLM"],
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "moe_intermediate_size": 32,
    "intermediate_size": 96,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "vocab_size": 64,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
    "attention_bias": False,
}
LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "num_hidden_layers": 1,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "vocab_size": 64,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": False,
    "attention_bias": False,
    "mlp_bias": False,
}

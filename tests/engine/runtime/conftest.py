"""A random gpt-oss checkpoint in ModelOpt's NVFP4 layout, small enough to make anew for every session."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toolkit.checkpoint.safetensors import ShardWriter
from toolkit.numerics import bf16, nvfp4

# all widths differ, so that a transposed tensor cannot have the right shape
HIDDEN, INNER, LAYERS, HEADS, KV_HEADS, WIDTH, EXPERTS, VOCAB, WINDOW = 64, 48, 4, 6, 2, 16, 4, 96, 24
EOS = (2, 5)


@dataclass
class TinyCheckpoint:
    """Tensors by name as (safetensors dtype, array), and the JSON files. Tests change a copy and write it."""

    tensors: dict[str, tuple[str, np.ndarray[Any, Any]]]
    config: dict[str, Any]
    generation: dict[str, Any] = field(default_factory=lambda: {"eos_token_id": list(EOS)})

    def write(
        self,
        folder: Path,
        *,
        tensors: Mapping[str, tuple[str, np.ndarray[Any, Any]]] | None = None,
        without: str | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> Path:
        """Write a checkpoint folder with some tensors or config keys replaced, or one tensor left out."""
        folder.mkdir(parents=True, exist_ok=True)
        all_of_them = {name: value for name, value in {**self.tensors, **(tensors or {})}.items() if name != without}
        declared = [(name, dtype, array.shape) for name, (dtype, array) in all_of_them.items()]
        with ShardWriter(folder / "model.safetensors", declared, {"format": "pt"}) as writer:
            for name, (_, array) in all_of_them.items():
                writer.write(name, [np.ascontiguousarray(array)])
        (folder / "config.json").write_text(json.dumps({**self.config, **(config or {})}))
        (folder / "generation_config.json").write_text(json.dumps(self.generation))
        return folder


class Maker:
    def __init__(self) -> None:
        self.random = np.random.default_rng(7)
        self.tensors: dict[str, tuple[str, np.ndarray[Any, Any]]] = {}

    def normal(self, shape: tuple[int, ...], deviation: float, mean: float = 0.0) -> np.ndarray[Any, Any]:
        return (mean + deviation * self.random.standard_normal(shape)).astype(np.float32)

    def plain(self, name: str, *shape: int, deviation: float = 0.05, mean: float = 0.0) -> None:
        self.tensors[name] = ("BF16", bf16.from_f32(self.normal(shape, deviation, mean)))

    def packed(self, name: str, scale: str, input_scale: str, shape: tuple[int, ...], axis: Any, gain: float) -> None:
        codes, scales, scale_2 = nvfp4.quantize(self.normal(shape, gain / shape[axis] ** 0.5), axis=axis)
        self.tensors[name] = ("U8", codes)
        self.tensors[scale] = ("F8_E4M3", scales)
        self.tensors[f"{scale}_2"] = ("F32", np.array(scale_2, np.float32))
        self.tensors[input_scale] = ("F32", np.array(0.0015, np.float32))

    def layer(self, prefix: str) -> None:
        # outputs into the residual stream are damped, or a random model turns rounding errors into other tokens
        damped = 1 / (2 * LAYERS) ** 0.5
        queries, keys = HEADS * WIDTH, KV_HEADS * WIDTH
        for name, outputs, inputs, gain in (
            ("q", queries, HIDDEN, 1.0),
            ("k", keys, HIDDEN, 1.0),
            ("v", keys, HIDDEN, 1.0),
            ("o", HIDDEN, queries, damped),
        ):
            linear = f"{prefix}self_attn.{name}_proj"
            weight = f"{linear}.weight"
            self.packed(weight, f"{weight}_scale", f"{linear}.input_scale", (outputs, inputs), -1, gain)
            self.plain(f"{linear}.bias", outputs)
        for name, inputs, outputs, gain in (("gate_up", HIDDEN, 2 * INNER, 1.0), ("down", INNER, HIDDEN, damped)):
            experts = f"{prefix}mlp.experts.{name}_proj"
            scale = f"{experts}_weight_scale"
            self.packed(experts, scale, f"{experts}_input_scale", (EXPERTS, inputs, outputs), -2, gain)
            self.plain(f"{experts}_bias", EXPERTS, outputs)
        self.plain(f"{prefix}self_attn.sinks", HEADS, deviation=1.0)
        self.plain(f"{prefix}mlp.router.weight", EXPERTS, HIDDEN, deviation=0.2)
        self.plain(f"{prefix}mlp.router.bias", EXPERTS)
        self.plain(f"{prefix}input_layernorm.weight", HIDDEN, mean=1.0, deviation=0.1)
        self.plain(f"{prefix}post_attention_layernorm.weight", HIDDEN, mean=1.0, deviation=0.1)


def _config() -> dict[str, Any]:
    return {
        "architectures": ["GptOssForCausalLM"],
        "attention_bias": True,
        "head_dim": WIDTH,
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "layer_types": ["sliding_attention", "full_attention"] * (LAYERS // 2),
        "num_attention_heads": HEADS,
        "num_experts_per_tok": 2,
        "num_hidden_layers": LAYERS,
        "num_key_value_heads": KV_HEADS,
        "num_local_experts": EXPERTS,
        "rms_norm_eps": 1e-5,
        "rope_scaling": {
            "rope_type": "yarn",
            "factor": 32.0,
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "original_max_position_embeddings": 256,
            "truncate": False,
        },
        "rope_theta": 150000.0,
        "sliding_window": WINDOW,
        "vocab_size": VOCAB,
    }


@pytest.fixture(scope="session")
def tiny() -> TinyCheckpoint:
    """The checkpoint's content."""
    maker = Maker()
    for number in range(LAYERS):
        maker.layer(f"model.layers.{number}.")
    maker.plain("model.norm.weight", HIDDEN, mean=1.0, deviation=0.1)
    maker.plain("model.embed_tokens.weight", VOCAB, HIDDEN, deviation=1.0)
    maker.plain("lm_head.weight", VOCAB, HIDDEN, deviation=0.3)
    return TinyCheckpoint(maker.tensors, _config())


@pytest.fixture(scope="session")
def tiny_folder(tiny: TinyCheckpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint, written."""
    return tiny.write(tmp_path_factory.mktemp("tiny") / "nvfp4")

"""TensorRT-LLM checkpoints of Llama: the ranks' files put together again have the source's weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.engine.building import B200, run
from tests.engine.oracle import Arrays, arrays, bf16, dense, nvfp4, tensors_in
from tests.inspection.variants import read_tensors

NVFP4 = "tiny-llama-nvfp4-modelopt-0.37"
COMPILED = (*B200, "target.backend=tensorrt", "engine.max_seq_len=256")
ROWS = {"q_proj": 128, "k_proj": 64, "v_proj": 64}


def joined(ranks: list[Arrays], layer: int) -> Arrays:
    """Decoded weights of one layer under their Hugging Face names."""
    prefix, tp = f"transformer.layers.{layer}.", len(ranks)

    def decoded(rank: Arrays, name: str) -> np.ndarray:
        scales = (rank[f"{prefix}{name}.weights_scaling_factor{n}"] for n in ("", "_2"))
        return nvfp4(rank[f"{prefix}{name}.weight"], *scales, -1)

    whole: Arrays = {}
    cut = np.cumsum([rows // tp for rows in ROWS.values()])
    parts = [np.split(decoded(rank, "attention.qkv"), cut[:-1]) for rank in ranks]
    for number, name in enumerate(ROWS):
        whole[f"self_attn.{name}.weight"] = np.concatenate([part[number] for part in parts])
    for hf, name, axis in (
        ("self_attn.o_proj", "attention.dense", 1),
        ("mlp.gate_proj", "mlp.fc", 0),
        ("mlp.up_proj", "mlp.gate", 0),
        ("mlp.down_proj", "mlp.proj", 1),
    ):
        whole[f"{hf}.weight"] = np.concatenate([decoded(rank, name) for rank in ranks], axis=axis)
    return whole


@pytest.mark.parametrize("tp", [1, 2])
def test_the_ranks_together_are_the_source(root: Path, shared_fixtures: Path, tmp_path: Path, tp: int) -> None:
    source = shared_fixtures / NVFP4
    overrides = (f"checkpoint.path={source}", f"target.parallel.tp={tp}")
    bundle = run(root, tmp_path / "out", *COMPILED, *overrides).bundle
    bundle.check()
    files = sorted(bundle.checkpoint_dir.glob("*.safetensors"))
    assert [path.name for path in files] == [f"rank{rank}.safetensors" for rank in range(tp)]
    ranks = [arrays(read_tensors(path)) for path in files]
    stored = arrays(tensors_in(source))
    weights = dense(stored)
    for layer in range(2):
        for name, values in joined(ranks, layer).items():
            assert np.array_equal(values, weights[f"model.layers.{layer}.{name}"]), (layer, name)
        for rank in ranks:
            for hf, name in (("input_layernorm", "input_layernorm"), ("post_attention_layernorm", "post_layernorm")):
                norm = bf16(rank[f"transformer.layers.{layer}.{name}.weight"])
                assert np.array_equal(norm, weights[f"model.layers.{layer}.{hf}.weight"])
            scale = stored[f"model.layers.{layer}.mlp.down_proj.input_scale"]
            assert rank[f"transformer.layers.{layer}.mlp.proj.activation_scaling_factor"] == [scale]
    for name, hf in (("transformer.vocab_embedding.weight", "model.embed_tokens.weight"), ("lm_head.weight",) * 2):
        assert np.array_equal(np.concatenate([bf16(rank[name]) for rank in ranks]), weights[hf])
    config = json.loads((bundle.checkpoint_dir / "config.json").read_text())
    assert config["mapping"] == {"world_size": tp, "tp_size": tp, "pp_size": 1}
    assert bundle.manifest["verified"] == {"relay": len(ranks[0]) * tp}

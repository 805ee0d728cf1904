"""Every expected number is written out from the architecture, not computed by the code under test."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import pytest

from tests.models.layouts import CASES, case
from toolkit.checkpoint.header import itemsize
from toolkit.errors import CheckpointError
from toolkit.models.geometry import Geometry, Spec
from toolkit.models.known import KNOWN
from toolkit.models.layout import Layout
from toolkit.models.registry import FAMILIES
from toolkit.models.sharding import Weights, part_of, stages


def model(repo: str, layout: Layout) -> tuple[dict[str, Spec], Geometry]:
    config = KNOWN[repo].config
    family = FAMILIES[config["architectures"][0]]
    geometry = family.geometry(config, "")
    return family.tensors(geometry, layout), geometry


NVFP4, H, VOCAB = 0.5 + 1 / 16, 2880, 201088
GPT_OSS_ROUTER_AND_NORMS = 2 * (128 * H + 128 + 2 * H)
GPT_OSS_SCALARS = 4 * 4


def gpt_oss_attention(q_heads: int, kv_heads: int) -> int:
    """BF16 q, k, v and o with biases and sinks; the bias of o is whole."""
    q, kv = q_heads * 64, kv_heads * 64
    return 2 * (q * H + q + 2 * (kv * H + kv) + H * q + H + q_heads)


def gpt_oss_experts(experts: int, channels: int) -> float:
    """NVFP4 weights with FP32 biases; the bias of down is whole."""
    return experts * (NVFP4 * (H * 2 * channels + channels * H) + 4 * (2 * channels + H))


@pytest.mark.parametrize(
    ("tp", "ep", "dp", "attention", "experts", "outer"),
    [
        (1, 1, False, gpt_oss_attention(64, 8), gpt_oss_experts(128, 2880), 2 * VOCAB),
        (2, 1, False, gpt_oss_attention(32, 4), gpt_oss_experts(128, 1440), VOCAB),
        (4, 1, False, gpt_oss_attention(16, 2), gpt_oss_experts(128, 720), VOCAB // 2),
        (4, 2, False, gpt_oss_attention(16, 2), gpt_oss_experts(64, 1440), VOCAB // 2),
        (4, 4, False, gpt_oss_attention(16, 2), gpt_oss_experts(32, 2880), VOCAB // 2),
        (8, 8, False, gpt_oss_attention(8, 1), gpt_oss_experts(16, 2880), VOCAB // 4),
        (8, 2, False, gpt_oss_attention(8, 1), gpt_oss_experts(64, 720), VOCAB // 4),
        (16, 16, False, gpt_oss_attention(4, 1), gpt_oss_experts(8, 2880), VOCAB // 8),
        (4, 4, True, gpt_oss_attention(64, 8), gpt_oss_experts(32, 2880), 2 * VOCAB),
        (8, 4, True, gpt_oss_attention(64, 8), gpt_oss_experts(32, 1440), 2 * VOCAB),
    ],
)
def test_gpt_oss_120b(tp: int, ep: int, dp: bool, attention: int, experts: float, outer: int) -> None:
    """36 layers; embedding and lm_head of VOCAB rows each."""
    tensors, geometry = model("Firworks/gpt-oss-120b-nvfp4", Layout("bf16", "nvfp4"))
    expected = 36 * (attention + experts + GPT_OSS_ROUTER_AND_NORMS + GPT_OSS_SCALARS) + 2 * H * (outer + 1)
    assert Weights.of(tensors).rank_bytes(geometry, tp=tp, ep=ep, attention_dp=dp) == expected


def test_one_gpu_holds_the_predicted_bytes_and_wider_expert_biases() -> None:
    tensors, geometry = model("Firworks/gpt-oss-120b-nvfp4", Layout("bf16", "nvfp4"))
    wider = 36 * 128 * (5760 + 2880) * 2
    assert Weights.of(tensors).rank_bytes(geometry) == 68_831_997_120 + wider


@pytest.mark.parametrize(
    ("tp", "ep", "heads", "kv", "experts", "channels", "k_blocks"),
    [(1, 1, 64, 8, 32, 2880, 90), (2, 1, 32, 4, 32, 1440, 45), (4, 2, 16, 2, 16, 1440, 45), (8, 8, 8, 1, 4, 2880, 90)],
)
def test_gpt_oss_20b_in_mxfp4(
    tp: int, ep: int, heads: int, kv: int, experts: int, channels: int, k_blocks: int
) -> None:
    """A block of 32 has 16 bytes of codes and one of scale; biases stay BF16."""
    tensors, geometry = model("openai/gpt-oss-20b", Layout("bf16", "mxfp4"))
    gate_up = 2 * channels * (90 * 17 + 2)
    down = H * (k_blocks * 17 + 2)
    layer = gpt_oss_attention(heads, kv) + experts * (gate_up + down) + 2 * (32 * H + 32 + 2 * H)
    assert Weights.of(tensors).rank_bytes(geometry, tp=tp, ep=ep) == 24 * layer + 2 * H * (2 * VOCAB // tp + 1)


def test_a_share_that_is_not_whole_is_rounded_up() -> None:
    """90 blocks over 4 ranks: the largest share is 23."""
    tensors, geometry = model("openai/gpt-oss-20b", Layout("bf16", "mxfp4"))
    layer = gpt_oss_attention(16, 2) + 32 * (1440 * (90 * 17 + 2) + H * (23 * 17 + 2)) + 2 * (32 * H + 32 + 2 * H)
    assert Weights.of(tensors).rank_bytes(geometry, tp=4) == 24 * layer + 2 * H * (VOCAB // 2 + 1)


def llama_layer(q_heads: int, kv_heads: int, channels: int) -> float:
    """NVFP4 with two FP32 scalars for each of 7 Linears, and two norms."""
    attention = 2 * 4096 * q_heads * 128 + 2 * 4096 * kv_heads * 128
    return NVFP4 * (attention + 3 * 4096 * channels) + 7 * 2 * 4 + 2 * 4096 * 2


LLAMA_TABLE, LLAMA_NORM = 128256 * 4096 * 2, 4096 * 2


@pytest.mark.parametrize(
    ("tp", "pp", "dp", "expected"),
    [
        (1, 1, False, 32 * llama_layer(32, 8, 14336) + 2 * LLAMA_TABLE + LLAMA_NORM),
        (2, 1, False, 32 * llama_layer(16, 4, 7168) + LLAMA_TABLE + LLAMA_NORM),
        (4, 1, False, 32 * llama_layer(8, 2, 3584) + LLAMA_TABLE / 2 + LLAMA_NORM),
        (8, 1, False, 32 * llama_layer(4, 1, 1792) + LLAMA_TABLE / 4 + LLAMA_NORM),
        (16, 1, False, 32 * llama_layer(2, 1, 896) + LLAMA_TABLE / 8 + LLAMA_NORM),
        (2, 1, True, 32 * llama_layer(32, 8, 14336) + 2 * LLAMA_TABLE + LLAMA_NORM),
        (1, 2, False, 16 * llama_layer(32, 8, 14336) + LLAMA_TABLE + LLAMA_NORM),
        (2, 2, False, 16 * llama_layer(16, 4, 7168) + LLAMA_TABLE / 2 + LLAMA_NORM),
        (1, 5, False, 7 * llama_layer(32, 8, 14336) + LLAMA_TABLE),
    ],
)
def test_llama_8b(tp: int, pp: int, dp: bool, expected: float) -> None:
    """With pp 5 the ranks have 7, 7, 6, 6 and 6 layers: the first, with the embedding, is the fullest."""
    tensors, geometry = model("nvidia/Llama-3.1-8B-Instruct-FP4", Layout("nvfp4", "nvfp4"))
    assert Weights.of(tensors).rank_bytes(geometry, tp=tp, pp=pp, attention_dp=dp) == expected


def test_a_tied_lm_head_is_copied_to_the_last_pipeline_rank() -> None:
    tensors, geometry = model("nvidia/Llama-3.1-8B-Instruct-FP4", Layout("nvfp4", "nvfp4"))
    del tensors["lm_head.weight"]
    tied = replace(geometry, tied=True)
    layer = llama_layer(32, 8, 14336)
    assert Weights.of(tensors).rank_bytes(tied) == 32 * layer + LLAMA_TABLE + LLAMA_NORM
    assert Weights.of(tensors).rank_bytes(tied, pp=2) == 16 * layer + LLAMA_TABLE + LLAMA_NORM


def qwen_layer(q_heads: int, kv_heads: int, experts: int, channels: int) -> float:
    """NVFP4 with two FP32 scalars for each Linear; router, two norms and the norms of q and k heads in BF16."""
    attention = NVFP4 * 2048 * 128 * (2 * q_heads + 2 * kv_heads) + 4 * 2 * 4
    expert = NVFP4 * 3 * 2048 * channels + 3 * 2 * 4
    return attention + experts * expert + 2 * (128 * 2048 + 2 * 2048 + 2 * 128)


@pytest.mark.parametrize(
    ("tp", "ep", "dp", "layer", "rows"),
    [
        (1, 1, False, qwen_layer(32, 4, 128, 768), 2 * 151936),
        (2, 1, False, qwen_layer(16, 2, 128, 384), 151936),
        (4, 4, False, qwen_layer(8, 1, 32, 768), 151936 // 2),
        (8, 1, False, qwen_layer(4, 1, 128, 96), 151936 // 4),
        (8, 4, False, qwen_layer(4, 1, 32, 384), 151936 // 4),
        (8, 8, True, qwen_layer(32, 4, 16, 768), 2 * 151936),
    ],
)
def test_qwen3_30b(tp: int, ep: int, dp: bool, layer: float, rows: int) -> None:
    """4 KV heads: with tp 8 each rank has one, two ranks the same."""
    tensors, geometry = model("nvidia/Qwen3-30B-A3B-FP4", Layout("nvfp4", "nvfp4"))
    expected = 48 * layer + 2 * 2048 * (rows + 1)
    assert Weights.of(tensors).rank_bytes(geometry, tp=tp, ep=ep, attention_dp=dp) == expected


def test_experts_that_do_not_split_evenly_are_rounded_up() -> None:
    """4 experts over 3 ranks of one test model: the largest share is 2 experts of 3 BF16 Linears."""
    _, geometry, tensors = case("qwen3-moe-bf16")
    whole = Weights.of(tensors).rank_bytes(geometry, tp=3, ep=1, attention_dp=True)
    shared = Weights.of(tensors).rank_bytes(geometry, tp=3, ep=3, attention_dp=True)
    assert whole - shared == 2 * 2 * (4 * 3 * 64 * 16 - 2 * 3 * 64 * 48)


def test_experts_that_differ_by_number_only_are_counted_together() -> None:
    _, _, tensors = case("qwen3-moe-bf16")
    rows = Weights.of(tensors).rows
    assert rows["model.layers.1.mlp.experts.0.up_proj.weight", (48, 64), 2] == 4
    assert rows["model.layers.1.self_attn.q_proj.weight", (96, 64), 2] == 1
    assert (sum(rows.values()), len(rows)) == (len(tensors), len(tensors) - 2 * 3 * 3)


@pytest.mark.parametrize("name", sorted(name for name in CASES if name != "gpt-oss-nvfp4"))
def test_one_rank_holds_every_byte(name: str) -> None:
    _, geometry, tensors = case(name)
    assert Weights.of(tensors).rank_bytes(geometry) == sum(
        prod(shape) * itemsize(dtype) for dtype, shape in tensors.values()
    )


@pytest.mark.parametrize(
    ("layers", "pp", "expected"),
    [
        (4, 1, [range(0, 4)]),
        (5, 2, [range(0, 3), range(3, 5)]),
        (7, 3, [range(0, 3), range(3, 5), range(5, 7)]),
        (2, 3, [range(0, 1), range(1, 2), range(2, 2)]),
    ],
)
def test_stages(layers: int, pp: int, expected: list[range]) -> None:
    assert stages(layers, pp) == expected


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("model.embed_tokens.weight", "embedding"),
        ("lm_head.weight", "embedding"),
        ("model.norm.weight", "norm"),
        ("model.layers.3.input_layernorm.weight", "norm"),
        ("model.layers.3.post_attention_layernorm.weight", "norm"),
        ("model.layers.3.self_attn.q_proj.weight_scale", "attention"),
        ("model.layers.3.self_attn.k_proj.k_scale", "attention"),
        ("model.layers.3.self_attn.q_norm.weight", "attention"),
        ("model.layers.3.self_attn.sinks", "attention"),
        ("model.layers.3.mlp.router.bias", "router"),
        ("model.layers.3.mlp.gate.weight", "router"),
        ("model.layers.3.mlp.gate_proj.weight", "ffn"),
        ("model.layers.3.mlp.experts.gate_up_proj_blocks", "ffn"),
        ("model.layers.3.mlp.experts.12.down_proj.weight", "ffn"),
    ],
)
def test_part_of(name: str, part: str) -> None:
    assert part_of(name) == part


def test_a_name_of_no_part() -> None:
    with pytest.raises(CheckpointError) as caught:
        part_of("vision.patch_embed.weight")
    assert str(caught.value) == ("tensor 'vision.patch_embed.weight' belongs to no part of a model that trtkit knows")

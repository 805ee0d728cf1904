"""Every expected number is written out from the architecture, not computed by the code under test."""

from __future__ import annotations

from dataclasses import replace

import pytest

from toolkit.models.geometry import Geometry
from toolkit.models.known import KNOWN
from toolkit.models.kv import kv_bytes, kv_bytes_per_token
from toolkit.models.registry import FAMILIES


def geometry(repo: str) -> Geometry:
    config = KNOWN[repo].config
    return FAMILIES[config["architectures"][0]].geometry(config, "")


GPT_OSS_120B = geometry("openai/gpt-oss-120b")
GPT_OSS_20B = geometry("openai/gpt-oss-20b")
LLAMA = geometry("nvidia/Llama-3.1-8B-Instruct-FP4")
QWEN = geometry("nvidia/Qwen3-30B-A3B-FP4")


def test_llama_with_8k_tokens_of_bf16_is_one_gib() -> None:
    assert kv_bytes(LLAMA, 8192, element_bytes=2) == 2 * 32 * 8 * 128 * 8192 * 2 == 1 << 30


@pytest.mark.parametrize("tokens", [1, 127, 128, 129, 2048, 131072])
def test_sliding_layers_hold_their_window_only(tokens: int) -> None:
    """18 full layers and 18 with a window of 128 tokens; K and V of 8 heads of 64."""
    expected = 2 * 8 * 64 * (18 * tokens + 18 * min(tokens, 128))
    assert kv_bytes(GPT_OSS_120B, tokens, element_bytes=1) == expected
    assert kv_bytes(GPT_OSS_20B, tokens, element_bytes=2) == 2 * 2 * 8 * 64 * (12 * tokens + 12 * min(tokens, 128))


def test_nvfp4_has_a_scale_byte_for_16_elements() -> None:
    """1024 elements a token and layer: 512 bytes of codes, 64 of scales."""
    assert kv_bytes(GPT_OSS_120B, 1000, element_bytes=0.5625) == (512 + 64) * (18 * 1000 + 18 * 128)


@pytest.mark.parametrize(("tp", "heads"), [(1, 8), (2, 4), (4, 2), (8, 1), (16, 1)])
def test_heads_are_split_then_copied(tp: int, heads: int) -> None:
    assert kv_bytes(GPT_OSS_120B, 1000, element_bytes=1, tp=tp) == 2 * heads * 64 * (18 * 1000 + 18 * 128)
    assert kv_bytes_per_token(GPT_OSS_120B, element_bytes=1, tp=tp) == 2 * heads * 64 * 18


def test_four_kv_heads_over_eight_ranks() -> None:
    assert kv_bytes(QWEN, 100, element_bytes=1, tp=8) == 2 * 1 * 128 * 48 * 100


def test_attention_dp_keeps_a_request_whole() -> None:
    assert kv_bytes(GPT_OSS_120B, 1000, element_bytes=1, tp=8, attention_dp=True) == 2 * 8 * 64 * 18 * (1000 + 128)
    assert kv_bytes_per_token(GPT_OSS_120B, element_bytes=1, tp=8, attention_dp=True) == 2 * 8 * 64 * 18


@pytest.mark.parametrize(("pp", "layers"), [(1, 32), (2, 16), (3, 11), (5, 7), (32, 1)])
def test_the_fullest_pipeline_rank_counts(pp: int, layers: int) -> None:
    assert kv_bytes(LLAMA, 100, element_bytes=2, tp=2, pp=pp) == 2 * layers * 4 * 128 * 100 * 2
    assert kv_bytes_per_token(LLAMA, element_bytes=2, tp=2, pp=pp) == 2 * layers * 4 * 128 * 2


def test_a_rank_with_full_layers_is_fuller_than_one_with_as_many_windows() -> None:
    split = replace(LLAMA, windows=(128,) * 16 + (None,) * 16)
    assert kv_bytes(split, 1000, element_bytes=1, pp=2) == 2 * 8 * 128 * 16 * 1000
    assert kv_bytes(split, 1000, element_bytes=1) == 2 * 8 * 128 * 16 * (1000 + 128)


@pytest.mark.parametrize(
    ("model", "per_token"), [(GPT_OSS_120B, 2 * 18 * 512), (LLAMA, 2 * 32 * 1024), (QWEN, 2 * 48 * 512)]
)
def test_one_more_token(model: Geometry, per_token: int) -> None:
    assert kv_bytes_per_token(model, element_bytes=1) == per_token
    assert kv_bytes(model, 5001, element_bytes=1) - kv_bytes(model, 5000, element_bytes=1) == per_token


def test_part_of_a_byte_is_a_byte() -> None:
    tiny = replace(LLAMA, layers=1, windows=(None,), kv_heads=1, head_dim=1)
    assert kv_bytes(tiny, 1, element_bytes=0.5625) == 2
    assert kv_bytes_per_token(tiny, element_bytes=0.5625) == 2

from __future__ import annotations

from toolkit.models import gpt_oss, llama, qwen3_moe
from toolkit.models.registry import FAMILIES, find


def test_the_families() -> None:
    assert {architecture: family.name for architecture, family in FAMILIES.items()} == {
        "GptOssForCausalLM": "gpt-oss",
        "LlamaForCausalLM": "llama",
        "Qwen3MoeForCausalLM": "qwen3-moe",
    }


def test_find() -> None:
    assert find("GptOssForCausalLM") is gpt_oss.FAMILY
    assert find("LlamaForCausalLM") is llama.FAMILY
    assert find("Qwen3MoeForCausalLM") is qwen3_moe.FAMILY
    assert find("MixtralForCausalLM") is None

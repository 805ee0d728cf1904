from __future__ import annotations

import pytest

from tests.models import layouts
from toolkit.plan.excludes import corrected

ROUTERS = ["model.layers.0.mlp.gate", "model.layers.1.mlp.gate"]


def exclude(case: str, *listed: str) -> tuple[str, ...]:
    return corrected(layouts.infos(layouts.case(case)[2]), listed)


def test_a_list_that_agrees_with_the_tensors_stays_as_it_is() -> None:
    assert exclude("llama-nvfp4", "lm_head") == ("lm_head",)
    assert exclude("qwen3-moe-nvfp4", *ROUTERS, "lm_head") == (*ROUTERS, "lm_head")
    assert exclude("qwen3-moe-nvfp4", "*.mlp.gate", "lm_head*") == ("*.mlp.gate", "lm_head*")
    wild = [f"model.layers.{layer}.self_attn*" for layer in range(2)]
    assert exclude("llama-nvfp4-mlp-only", *wild, "lm_head") == (*wild, "lm_head")


def test_repeats_go_and_the_order_stays() -> None:
    """ModelOpt 0.39 writes lm_head twice."""
    assert exclude("llama-nvfp4", "lm_head", "lm_head") == ("lm_head",)
    assert exclude("qwen3-moe-nvfp4", "lm_head", ROUTERS[1], "lm_head", ROUTERS[0]) == ("lm_head", *ROUTERS[::-1])


@pytest.mark.parametrize("entry", ["model.layers.0.mlp.up_proj", "model.layers.0.mlp*", "*.up_proj", "model.layers.1"])
def test_what_is_stored_quantised_is_not_excluded(entry: str) -> None:
    assert exclude("llama-nvfp4", entry, "lm_head") == ("lm_head",)


def test_projections_that_are_stored_unquantised_are_added() -> None:
    attention = {f"model.layers.{n}.self_attn.{p}_proj" for n in range(2) for p in "qkvo"}
    found = exclude("llama-nvfp4-mlp-only", "lm_head")
    assert found[0] == "lm_head"
    assert len(found) == 9
    assert set(found[1:]) == attention


def test_a_pattern_that_hits_both_is_replaced_by_what_it_hits_rightly() -> None:
    """``model.layers.0*`` excludes attention, which is BF16, and the FFN, which is not."""
    found = exclude("llama-nvfp4-mlp-only", "model.layers.0*", "*self_attn*", "model.layers.1.mlp.up_proj")
    assert found == ("*self_attn*",)
    found = exclude("llama-nvfp4-mlp-only", "model.layers.0*", "model.layers.1.self_attn*", "lm_head")
    assert found[:2] == ("model.layers.1.self_attn*", "lm_head")
    assert set(found[2:]) == {f"model.layers.0.self_attn.{p}_proj" for p in "qkvo"}


def test_an_empty_list_stays_empty_where_every_projection_is_quantised() -> None:
    """Up to 0.44 routers and embeddings are not listed, and every loader knows them."""
    assert exclude("qwen3-moe-nvfp4") == ()


def test_a_pattern_that_goes_leaves_the_routers_that_it_covered() -> None:
    assert exclude("qwen3-moe-nvfp4", "model.layers.*.mlp*", "lm_head") == ("lm_head", *ROUTERS)
    assert set(exclude("qwen3-moe-nvfp4", "model*", "lm_head")) == {"lm_head", "model.embed_tokens", *ROUTERS}

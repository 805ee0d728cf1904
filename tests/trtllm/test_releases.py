from __future__ import annotations

import pytest
from pydantic import ValidationError

from toolkit.errors import PlanError
from toolkit.trtllm import Targets, load_targets


def test_every_release_names_its_source() -> None:
    targets = load_targets()
    assert targets.checked
    assert all(release.source for release in targets.releases.values())


def test_what_the_loader_builds_in_bf16() -> None:
    assert load_targets().gpt_oss_nvfp4.exclude_modules(2) == (
        "model.layers.0.self_attn*",
        "model.layers.0.mlp.router",
        "model.layers.1.self_attn*",
        "model.layers.1.mlp.router",
        "model.embed_tokens",
        "lm_head",
    )


def test_a_kernel_exists_exactly_on_data_centre_blackwell() -> None:
    targets = load_targets()
    backends = targets.gpt_oss_nvfp4.moe_backend
    assert {name for name, gpu in targets.gpus.items() if gpu.sm in backends} == {"b200", "gb200", "b300", "gb300"}


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(PlanError, match=r"target.gpu: unknown GPU 'rtx5090'. Did you mean 'rtx-5090'\?"):
        load_targets().gpu("rtx5090")


def test_a_misspelt_fact_is_refused() -> None:
    with pytest.raises(ValidationError):
        Targets.model_validate({**load_targets().model_dump(), "gpuss": {}})

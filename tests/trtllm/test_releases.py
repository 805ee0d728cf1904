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


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("rtx5090", "Did you mean 'rtx-5090'?"),
        ("B200", "Did you mean 'b200'?"),
        ("GB200", "Did you mean 'gb200'?"),
        ("tpu", "Known: b200, gb200, b300, gb300, h100, h200, rtx-5090, rtx-pro-6000, dgx-spark"),
    ],
)
def test_an_unknown_gpu_gets_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(PlanError) as caught:
        load_targets().gpu(name)
    assert str(caught.value) == f"target.gpu: unknown GPU {name!r}. {hint}"


@pytest.mark.parametrize("name", ["1.2", "1.2.2", "1.1.0rc5"])
def test_an_unknown_release_gets_the_list_and_no_guess(name: str) -> None:
    with pytest.raises(PlanError) as caught:
        load_targets().release(name)
    known = "Known: 1.0.0, 1.1.0, 1.2.0, 1.2.1"
    assert str(caught.value) == f"target.release: unknown TensorRT-LLM release {name!r}. {known}"


def test_a_misspelt_fact_is_refused() -> None:
    with pytest.raises(ValidationError):
        Targets.model_validate({**load_targets().model_dump(), "gpuss": {}})

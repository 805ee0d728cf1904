from __future__ import annotations

from pathlib import Path

import pytest

from tests.deploy.made_up import B200, build_sample, recipe, sample_recipe, without_tokenizer
from toolkit.deploy.deployment import CACHE_ENV
from toolkit.deploy.source import of_bundle, of_plan
from toolkit.engine.bundle import Bundle
from toolkit.errors import BundleError, DeployError, PlanError, TrtkitError


def test_a_bundle_is_deployed_as_it_was_built(b200_bundle: Path) -> None:
    found, bundle = of_bundle(sample_recipe(b200_bundle, *B200)), Bundle.open(b200_bundle)
    assert (found.bundle, found.identity) == (str(b200_bundle), bundle.manifest["identity"])
    assert (found.release, found.gpu, found.sm, found.base.tag) == ("1.2.1", "b200", 100, "26.07")


def test_a_bundle_of_the_cpu_runtime(cpu_bundle: Path) -> None:
    found = of_bundle(sample_recipe(cpu_bundle, "serve.model_name=gpt"))
    assert (found.runtime, found.model, found.gpus) == ("cpu", "gpt", 0)


def test_a_bundles_profile_gives_the_environment(tmp_path: Path) -> None:
    profile = (*B200, "engine.profile=latency")
    build_sample(tmp_path / "bundle", *profile)
    found = of_bundle(sample_recipe(tmp_path / "bundle", *profile))
    assert found.env == {**CACHE_ENV, "TRTLLM_ENABLE_PDL": "1", "NCCL_GRAPH_REGISTER": "0"}


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            (*B200[:1], "target.release=1.1.0", B200[2]),
            "the bundle was built for release 1.2.1, and the recipe is for 1.1.0. "
            "Build it for this one: trtkit engine RECIPE --set target.release=1.1.0",
        ),
        (
            (*B200[:2], "target.gpu=h100"),
            "the bundle was built for gpu b200, and the recipe is for h100. "
            "Build it for this one: trtkit engine RECIPE --set target.gpu=h100",
        ),
        (
            (),
            "the bundle was built for runtime tensorrt-llm, and the recipe is for cpu. "
            "Build it for this one: trtkit engine RECIPE --set target.runtime=cpu",
        ),
        (
            (*B200, "engine.max_seq_len=1024"),
            "it was built with another engine.max_seq_len than the recipe's. "
            "Type: trtkit engine RECIPE, with the same --set",
        ),
    ],
)
def test_a_bundle_for_something_else(b200_bundle: Path, overrides: tuple[str, ...], expected: str) -> None:
    with pytest.raises(TrtkitError) as caught:
        of_bundle(sample_recipe(b200_bundle, *overrides))
    assert str(caught.value) == f"{b200_bundle}: {expected}"


def test_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError) as caught:
        of_bundle(sample_recipe(tmp_path / "none"))
    assert str(caught.value) == f"{tmp_path}/none: there is no engine bundle. Type: trtkit engine RECIPE"


def test_a_bundle_without_a_tokenizer(cpu_bundle: Path, tmp_path: Path) -> None:
    folder = without_tokenizer(cpu_bundle, tmp_path / "bundle")
    with pytest.raises(DeployError) as caught:
        of_bundle(sample_recipe(folder))
    what = "the bundle has no tokenizer.json, so text cannot be served"
    assert str(caught.value) == f"{folder}: {what}. Build it again with --set checkpoint.tokenizer=DIR"


def test_a_plan_gives_size_and_environment() -> None:
    found = of_plan(recipe("gpt-oss-120b/b200-latency", "engine.output=/srv/bundle"))
    assert (found.bundle, found.identity, found.gpus) == ("/srv/bundle", None, 4)
    assert found.env == {**CACHE_ENV, "TRTLLM_ENABLE_PDL": "1", "NCCL_GRAPH_REGISTER": "0"}


def test_what_the_plan_refuses_is_not_rendered() -> None:
    with pytest.raises(PlanError, match=r"^target: "):
        of_plan(recipe("gpt-oss-120b/b200", "target.gpu=rtx-5090"))

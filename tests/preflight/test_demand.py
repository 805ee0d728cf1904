from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import write_checkpoint
from toolkit import recipe as recipes
from toolkit.checkpoint import hub
from toolkit.checkpoint.census import Census
from toolkit.errors import PlanError
from toolkit.models.known import predicted_census
from toolkit.preflight.demand import needs_of
from toolkit.preflight.finding import Finding
from toolkit.preflight.known import load_known
from toolkit.preflight.needs import CPU_SHM, GPU_SHM, Needs
from toolkit.trtllm import load_targets


def predicted(repo: str) -> Census:
    census = predicted_census(repo)
    assert census is not None
    return census


B200 = ("target.runtime=tensorrt-llm", "target.release=1.2.1", "target.gpu=b200")


def ask(root: Path, name: str, *overrides: str) -> Needs:
    return needs_of(recipes.load(root / "recipes" / name, overrides))


def test_the_cpu_runtime(root: Path) -> None:
    asked = ask(root, "tiny-gpt-oss/cpu.yaml", "serve.grpc_port=8001")
    assert asked == Needs(
        plan=Finding("plan", "ok", "the target loads the checkpoint as it is"),
        output=Path("build/tiny-gpt-oss-cpu"),
        gpu=None,
        shm=CPU_SHM,
        output_bytes=4_765_584,
        ports={"grpc": 8001},
    )


def test_a_gpu_target(root: Path) -> None:
    asked = ask(root, "gpt-oss-120b/b200.yaml", "target.parallel.tp=2", "target.parallel.ep=2")
    assert (asked.plan.name, asked.plan.status) == ("plan", "warn")
    assert (asked.shm, asked.repo, asked.harmony) == (GPU_SHM, "Firworks/gpt-oss-120b-nvfp4", True)
    assert asked.features == load_known().features
    gpu = asked.gpu
    assert gpu is not None
    assert (gpu.release, gpu.gpu, gpu.sm, gpu.count) == ("1.2.1", "b200", 100, 2)
    assert (gpu.known["h200"], gpu.known["dgx-spark"]) == (90, 121)
    assert {"1.1.0", "1.2.1"} <= set(gpu.releases)
    assert gpu.image == "nvcr.io/nvidia/tensorrt-llm/release:1.2.1"
    assert gpu.triton_image == "nvcr.io/nvidia/tritonserver:26.07-trtllm-python-py3"
    assert gpu.memory == load_targets().gpu("b200").memory_bytes
    assert (gpu.driver, gpu.shipped, gpu.unified) == ("575", "590.44.01", False)
    # 64.1 GiB of weights over two ranks; embedding and norms are not split evenly by every layout
    assert gpu.weights is not None
    assert asked.output_bytes is not None
    assert asked.output_bytes / 2 <= gpu.weights < asked.output_bytes * 0.6
    assert asked.fetch_bytes == sum(predicted("Firworks/gpt-oss-120b-nvfp4").shards.values())


def test_a_gpu_that_shares_the_host_s_memory(root: Path) -> None:
    gpu = ask(root, "gpt-oss-20b/dgx-spark.yaml").gpu
    assert gpu is not None
    assert gpu.unified


def test_the_recipe_s_name_for_commands(root: Path) -> None:
    recipe = recipes.load(root / "recipes/tiny-gpt-oss/cpu.yaml", (*B200, "target.release=1.0.0"))
    asked = needs_of(recipe, "tiny-gpt-oss/cpu --set target.release=1.0.0")
    assert asked.plan.fix == "Type: trtkit plan tiny-gpt-oss/cpu --set target.release=1.0.0, for the ways out"
    assert asked.gpu is not None
    assert asked.named == asked.gpu.named == "tiny-gpt-oss/cpu --set target.release=1.0.0"


def test_a_shipped_recipe_of_each_model_says_what_it_needs(root: Path) -> None:
    one_a_model = {file.parent.name: file for file in sorted((root / "recipes").glob("*/*.yaml"))}
    for file in one_a_model.values():
        recipe, found = recipes.load(file, ()), ask(root, str(file.relative_to(root / "recipes")))
        assert found.gpu is None or found.gpu.gpu == recipe.target.gpu
        assert (found.gpu is None) == (recipe.target.runtime == "cpu")


def test_a_release_without_an_image_of_triton(root: Path) -> None:
    gpu = ask(root, "tiny-gpt-oss/cpu.yaml", *B200, "target.release=1.3.0rc20").gpu
    assert gpu is not None
    assert (gpu.image, gpu.triton_image) == ("nvcr.io/nvidia/tensorrt-llm/release:1.3.0rc20", None)
    assert gpu.shipped is None


def test_a_target_that_refuses(root: Path) -> None:
    asked = ask(root, "tiny-gpt-oss/cpu.yaml", *B200, "target.release=1.0.0")
    assert (asked.plan.name, asked.plan.status) == ("plan", "fail")
    assert "1.0.0" in asked.plan.detail
    assert asked.plan.fix == "Type: trtkit plan RECIPE, for the ways out"
    assert (asked.output_bytes, asked.features, asked.harmony) == (None, (), False)
    assert asked.gpu is not None
    assert asked.gpu.weights is None


def test_a_checkpoint_that_is_not_here(root: Path, tmp_path: Path) -> None:
    asked = ask(root, "tiny-gpt-oss/cpu.yaml", f"checkpoint.path={tmp_path / 'nothing'}")
    assert asked.plan.status == "fail"
    assert asked.plan.detail == f"{tmp_path / 'nothing'}: no such folder"


def test_a_recipe_that_cannot_be_planned(root: Path, tmp_path: Path) -> None:
    asked = ask(root, "tiny-gpt-oss/cpu.yaml", f"checkpoint.tokenizer={tmp_path}")
    assert asked.plan.status == "fail"
    assert "tokenizer.json" in asked.plan.detail


def test_a_damaged_checkpoint(root: Path, tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "checkpoint", {})
    asked = ask(root, "tiny-gpt-oss/cpu.yaml", f"checkpoint.path={folder}")
    assert asked.plan.status == "fail"
    assert asked.plan.detail.startswith(f"{folder}: ")


def test_a_token_that_cannot_be_read_is_no_failure_of_the_plan(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(repo: str, revision: str | None) -> None:
        raise NotADirectoryError(20, "Not a directory", "/x/token")

    monkeypatch.setattr(hub, "cached", refuse)
    asked = ask(root, "gpt-oss-120b/b200.yaml")
    assert asked.plan == Finding("plan", "skip", "/x/token: Not a directory")
    assert asked.fetch_bytes is None


def test_a_hub_checkpoint_that_is_not_here_is_no_failure(root: Path) -> None:
    asked = ask(root, "gpt-oss-120b/b200.yaml", "checkpoint.repo=owner/unheard-of")
    assert (asked.plan.status, asked.repo) == ("skip", "owner/unheard-of")


@pytest.mark.parametrize(
    ("override", "what"),
    [("target.release=9.9", "unknown TensorRT-LLM release '9.9'"), ("target.gpu=b20", "unknown GPU 'b20'")],
)
def test_what_nobody_knows(root: Path, override: str, what: str) -> None:
    with pytest.raises(PlanError, match=what):
        ask(root, "tiny-gpt-oss/cpu.yaml", *B200, override)

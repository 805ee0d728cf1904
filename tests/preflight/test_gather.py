from __future__ import annotations

import shutil
import socket
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.chat import o200k
from tests.preflight.made_up import (
    WITH_NVFP4,
    executable,
    fake_nvidia_smi,
    fake_tensorrt_llm,
    gpu_needs,
    needs,
)
from toolkit import recipe as recipes
from toolkit.bench.environment.devices import Nvidia
from toolkit.checkpoint import hub
from toolkit.errors import CheckpointError
from toolkit.preflight.gather import gather
from toolkit.preflight.machine import Part, Probed, Vocabulary
from toolkit.preflight.needs import Needs
from toolkit.recipe import Recipe


@pytest.fixture(autouse=True)
def _bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing on PATH, no variable set that the probes read."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_VERSION", "TIKTOKEN_ENCODINGS_BASE", "TIKTOKEN_RS_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def recipe(root: Path) -> Recipe:
    return recipes.load(root / "recipes" / "tiny-gpt-oss" / "cpu.yaml", ())


def cpu_needs(**changes: object) -> Needs:
    return needs(**{"gpu": None, "repo": None, "harmony": False, "features": (), **changes})


def test_the_cpu_runtime_asks_no_gpu(recipe: Recipe, sample: Path, tmp_path: Path) -> None:
    executable(tmp_path / "nvidia-smi", "echo started >> started")
    found = gather(recipe, Needs(plan=needs().plan, output=Path("build/bundle"), ports={}))
    assert not (tmp_path / "started").exists()
    assert found.nvidia == Nvidia()
    assert (found.python, found.probes, found.vocabulary, found.cache) == (sys.executable, {}, None, None)
    assert (found.output.path, found.has_bundle, found.tokenizer) == (str(tmp_path), False, str(sample))
    assert found.ports == Part("free ones are picked")


def test_a_gpu_container(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = fake_tensorrt_llm(tmp_path / "site", "1.2.1", WITH_NVFP4)
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("CUDA_VERSION", "13.1.0.036")
    monkeypatch.setenv("TIKTOKEN_ENCODINGS_BASE", str(tmp_path))
    fake_nvidia_smi(tmp_path)
    executable(tmp_path / "tritonserver", "exit 1")
    found = gather(recipe, needs(repo=None))
    assert found.packages["tensorrt-llm"] == "1.2.1"
    assert found.probes == {"gpt-oss-nvfp4-loader": Probed(True)}
    assert [device.name for device in found.nvidia.devices] == ["NVIDIA H100 80GB HBM3"]
    assert (found.visible, found.cuda_installed) == ("0", "13.1.0.036")
    assert found.triton == Part(str(tmp_path / "tritonserver"))
    assert found.vocabulary is not None
    assert (found.vocabulary.base, found.vocabulary.state) == (True, "absent")


def test_no_probe_without_tensorrt_llm(recipe: Recipe) -> None:
    found = gather(recipe, needs(repo=None))
    assert (found.packages["tensorrt-llm"], found.probes) == (None, {})
    assert found.nvidia.problem == "no nvidia-smi on PATH"
    assert found.triton == Part(problem="no tritonserver on PATH")


def test_the_tokenizer_of_a_built_bundle(recipe: Recipe, sample: Path, tmp_path: Path) -> None:
    bare, bundle = tmp_path / "bare", tmp_path / "bundle"
    shutil.copytree(sample, bare, ignore=shutil.ignore_patterns("tokenizer*"))
    asked = recipes.load(
        sample.parents[2] / "recipes" / "tiny-gpt-oss" / "cpu.yaml",
        (f"checkpoint.path={bare}", f"engine.output={bundle}"),
    )
    assert gather(asked, cpu_needs(output=bundle)).tokenizer is None
    (bundle / "checkpoint").mkdir(parents=True)
    (bundle / "checkpoint" / "tokenizer.json").write_text("{}")
    (bundle / "engine.json").write_text("{}")
    found = gather(asked, cpu_needs(output=bundle))
    assert (found.tokenizer, found.has_bundle) == (str(bundle / "checkpoint"), True)


def test_a_tokenizer_folder_of_the_recipe_hides_the_checkpoint_s(recipe: Recipe, root: Path, tmp_path: Path) -> None:
    asked = recipes.load(root / "recipes/tiny-gpt-oss/cpu.yaml", (f"checkpoint.tokenizer={tmp_path}",))
    assert gather(asked, cpu_needs()).tokenizer is None


def test_where_harmony_s_vocabulary_is(
    recipe: Recipe, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("TIKTOKEN_RS_CACHE_DIR", str(tmp_path))
    absent = str(tmp_path / "fb374d419588a4632f3f557e76b4b70aebbca790")
    asked = cpu_needs(harmony=True)
    assert gather(recipe, asked).vocabulary == Vocabulary(False, absent, "absent")  # the sample has one of its own
    kept = tmp_path / "trtkit" / "harmony"
    kept.mkdir(parents=True)
    (kept / "o200k_base.tiktoken").write_bytes(o200k.vocabulary())
    folder = o200k.write_tokenizer(tmp_path / "gpt-oss")
    gpt_oss = recipes.load(root / "recipes/tiny-gpt-oss/cpu.yaml", (f"checkpoint.tokenizer={folder}",))
    found = gather(gpt_oss, asked).vocabulary
    assert found == Vocabulary(False, absent, "absent", kept=str(kept), tokenizer=str(folder))
    (folder / "tokenizer.json").write_text("{")
    assert gather(gpt_oss, asked).vocabulary == replace(found, tokenizer=None)


def test_a_hub_checkpoint(root: Path) -> None:
    asked = recipes.load(root / "recipes/gpt-oss-120b/b200.yaml", ())
    found = gather(asked, needs(gpu=gpu_needs(), features=(), repo="Firworks/gpt-oss-120b-nvfp4"))
    assert (found.cached, found.tokenizer) == (False, None)
    assert found.cache is not None
    assert found.cache.writable


def test_a_cache_that_is_no_folder(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "file" / "hub"))
    asked = recipes.load(root / "recipes/gpt-oss-120b/b200.yaml", ())
    found = gather(asked, needs(features=(), repo="Firworks/gpt-oss-120b-nvfp4"))
    assert found.cache is not None
    assert (found.cached, found.cache.path, found.cache.writable) == (False, str(tmp_path / "file"), False)


def test_a_cache_that_cannot_be_read(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = tmp_path / "models--Firworks--gpt-oss-120b-nvfp4" / "refs" / "main"
    reference.parent.mkdir(parents=True)
    reference.write_text("c" * 40)
    snapshot = reference.parents[1] / "snapshots" / ("c" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (snapshot / "model.safetensors.index.json").write_text("{")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    asked = recipes.load(root / "recipes/gpt-oss-120b/b200.yaml", ())
    found = gather(asked, needs(features=(), repo="Firworks/gpt-oss-120b-nvfp4"))
    assert (found.cached, found.tokenizer) == (False, None)
    assert found.unread is not None
    assert found.unread.problem is not None
    assert found.unread.problem.startswith(f"{snapshot / 'model.safetensors.index.json'}: ")


@pytest.mark.parametrize(
    ("error", "unread"),
    [
        (
            CheckpointError("is broken", where="/cache", hint="Mend it"),
            Part(problem="/cache: is broken", fix="Mend it"),
        ),
        (NotADirectoryError(20, "Not a directory", "/x/token"), Part(problem="/x/token: Not a directory")),
    ],
)
def test_why_the_cache_cannot_be_read(
    root: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, unread: Part
) -> None:
    def refuse(repo: str, revision: str | None) -> None:
        raise error

    monkeypatch.setattr(hub, "cached", refuse)
    asked = recipes.load(root / "recipes/gpt-oss-120b/b200.yaml", ())
    assert gather(asked, needs(features=(), repo="owner/name")).unread == unread


def test_a_port_that_is_taken(recipe: Recipe) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen(1)
        port = holder.getsockname()[1]
        found = gather(recipe, cpu_needs(ports={"grpc": port}))
    assert found.ports == Part(
        problem=f"cannot bind grpc port {port} on 127.0.0.1: address already in use",
        fix="--set serve.grpc_port=0 picks a free one",
    )
    assert gather(recipe, cpu_needs(ports={"grpc": port})).ports == Part(f"grpc {port} free on 127.0.0.1")

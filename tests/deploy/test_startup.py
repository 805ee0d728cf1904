from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.made_up import without_tokenizer
from tests.preflight.made_up import GIB, device, gpu_needs, machine, needs, nvidia
from toolkit.bench.environment.devices import Nvidia
from toolkit.deploy import startup
from toolkit.deploy.startup import check, judge, open_mounted, unwritable
from toolkit.engine.bundle import Bundle
from toolkit.errors import DeployError
from toolkit.preflight.checks_gpu import FIXES
from toolkit.preflight.machine import Machine, Part, Storage
from toolkit.preflight.needs import Needs

TRITON = "nvcr.io/nvidia/tritonserver:26.07-trtllm-python-py3"


def test_a_container_as_it_should_be() -> None:
    found = list(judge(needs(), machine()))
    assert [finding.name for finding in found] == ["release", "packages", "gpu", "driver", "memory", "shm", "ports"]
    assert {finding.status for finding in found} == {"ok"}


def test_the_cpu_runtime_needs_no_gpu() -> None:
    found = judge(Needs(plan=needs().plan, output=Path("/bundle")), machine())
    assert [finding.name for finding in found] == ["shm", "ports"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"packages": {"tensorrt-llm": "1.1.0"}},
            "release: TensorRT-LLM 1.1.0 is installed, and the recipe is for 1.2.1. "
            f"--set target.release=1.1.0, or run trtkit inside {TRITON}",
        ),
        (
            {"nvidia": Nvidia(problem="no nvidia-smi on PATH")},
            f"gpu: no nvidia-smi on PATH. {FIXES['no nvidia-smi on PATH']}",
        ),
        (
            {"nvidia": nvidia(device(name="NVIDIA H100 80GB HBM3", sm=90))},
            "gpu: NVIDIA H100 80GB HBM3 (SM 90), and the recipe is for b200 (SM 100). "
            "--set target.gpu=h100, or another machine",
        ),
        (
            {"nvidia": nvidia(device(memory_free=1 << 20))},
            "memory: 1 MiB of 179.0 GiB free on GPU 0, and the weights of one rank take 8 MiB. "
            "End what runs there (nvidia-smi lists it)",
        ),
        (
            {"shm": Storage("/dev/shm", 64 << 20, 64 << 20, True)},
            "shm: /dev/shm has 64 MiB, and 1.0 GiB are needed. "
            "Start the container with --shm-size=8g, or with --ipc=host",
        ),
        (
            {"ports": Part(problem="cannot bind grpc port 8001 on 0.0.0.0: address already in use", fix="Free it")},
            "ports: cannot bind grpc port 8001 on 0.0.0.0: address already in use. Free it",
        ),
    ],
)
def test_what_a_container_lacks_is_one_line(
    monkeypatch: pytest.MonkeyPatch, b200_bundle: Path, changes: dict[str, Any], expected: str
) -> None:
    bundle = Bundle.open(b200_bundle)
    monkeypatch.setattr(startup, "gather", lambda recipe, needs: machine(**changes))
    monkeypatch.setattr(Bundle, "nbytes", 8 << 20)
    with pytest.raises(DeployError) as caught:
        check(bundle.recipe, bundle)
    assert str(caught.value) == expected


@pytest.mark.parametrize(("nodes", "count"), [(None, 4), ("2", 2)])
def test_each_node_has_its_share_of_the_gpus(
    monkeypatch: pytest.MonkeyPatch, b200_bundle: Path, nodes: str | None, count: int
) -> None:
    seen: list[Needs] = []

    def gather(recipe: object, needs: Needs) -> Machine:
        seen.append(needs)
        return machine(nvidia=nvidia(*(device(index) for index in range(4))))

    monkeypatch.setattr(startup, "gather", gather)
    if nodes is not None:
        monkeypatch.setenv("LWS_GROUP_SIZE", nodes)
    bundle = Bundle.open(b200_bundle)
    parallel = bundle.recipe.target.parallel.model_copy(update={"tp": 2, "pp": 2})
    target = bundle.recipe.target.model_copy(update={"parallel": parallel})
    check(bundle.recipe.model_copy(update={"target": target}), bundle)
    [found] = seen
    assert found.gpu is not None
    assert found.gpu == gpu_needs(
        count=count, weights=bundle.nbytes // 4, named="RECIPE", known=found.gpu.known, releases=found.gpu.releases,
        image=TRITON, driver="570.133.20", memory=found.gpu.memory,
    )  # fmt: skip
    assert found.shm == GIB


def test_a_folder_that_takes_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(startup.os, "getuid", lambda: 10001)
    environment = {"HF_HOME": f"{tmp_path}/file/hub", "TMPDIR": str(tmp_path), "HOME": str(tmp_path)}
    [found] = unwritable(environment)
    assert (found.status, found.detail) == ("fail", f"HF_HOME={tmp_path}/file/hub takes no file")
    assert found.fix == "Mount a volume there that uid 10001 can write to, or a tmpfs"


def test_a_mounted_bundle(cpu_bundle: Path) -> None:
    identity = Bundle.open(cpu_bundle).manifest["identity"]
    assert open_mounted(cpu_bundle, identity).folder == cpu_bundle


def test_what_is_mounted_instead(cpu_bundle: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(cpu_bundle, damaged)
    (damaged / "checkpoint" / "config.json").unlink()
    empty, other = tmp_path / "empty", without_tokenizer(cpu_bundle, tmp_path / "other")
    empty.mkdir()
    identity = Bundle.open(cpu_bundle).manifest["identity"]
    mount = "Mount the folder that trtkit engine wrote at"
    for folder, wanted, expected in (
        (empty, None, f"no engine bundle is mounted here. {mount} {empty}"),
        (tmp_path / "none", None, f"no engine bundle is mounted here. {mount} {tmp_path}/none"),
        (damaged, None, f"checkpoint/config.json is missing. {mount} {damaged}"),
        (
            other,
            None,
            "the bundle has no tokenizer.json, so text cannot be served. "
            "Build it again with --set checkpoint.tokenizer=DIR",
        ),
        (
            cpu_bundle,
            "f" * 64,
            f"this is bundle {identity[:12]}, and the manifest was rendered for ffffffffffff. "
            "Mount that one, or render the manifest again: trtkit deploy",
        ),
    ):
        with pytest.raises(DeployError) as caught:
            open_mounted(folder, wanted)
        assert str(caught.value) == f"{folder}: {expected}"

from __future__ import annotations

import pytest

from tests.deploy.made_up import GIB, IDENTITY, made
from toolkit.deploy.deployment import CACHE_ENV, Deployment, dns_label
from toolkit.deploy.images import Base
from toolkit.errors import DeployError


def test_one_gpu_whole() -> None:
    assert made(base="own/triton:1", image="registry/trtkit@sha256:1") == Deployment(
        name="gpt-oss-120b-b200",
        recipe="gpt-oss-120b-b200",
        runtime="tensorrt-llm",
        image="registry/trtkit@sha256:1",
        base=Base("custom", "own/triton:1"),
        bundle="/srv/bundle",
        identity=IDENTITY,
        release="1.2.1",
        gpu="b200",
        sm=100,
        nodes=1,
        gpus=1,
        devices=("0",),
        cpus=4,
        shm=2 * GIB,
        # 65 GiB of weights, 8 GiB for the server and 8 GiB for the rank, shared memory
        memory=83 * GIB,
        model="tensorrt_llm",
        queue=256,
        ports={"http": 8000, "grpc": 8001, "metrics": 8002},
        # 300 s, and 65 GiB at 200 MiB/s take 333 s: whole minutes
        load_s=660,
        # 9216 tokens at 20 a second
        grace_s=461,
        env=CACHE_ENV,
    )


def test_the_cpu_runtime() -> None:
    found = made("tiny-gpt-oss/cpu", "serve.grpc_port=18001", nbytes=3 << 20)
    assert (found.image, found.gpus, found.devices, found.sm, found.release) == ("trtkit:0.1.0-cpu", 0, (), None, None)
    assert (found.cpus, found.shm, found.memory) == (2, 256 << 20, 2 * GIB)
    assert (found.load_s, found.grace_s, found.stop_s) == (360, 103, 133)
    assert found.ports == {"http": 8000, "grpc": 18001, "metrics": 8002}


def test_what_the_container_runs() -> None:
    found = made("gpt-oss-120b/b200", "serve.model_name=gpt", "serve.max_queue_size=9", "serve.grace_s=10")
    assert found.command == [
        *("deploy", "run", "/bundle", "--set", "serve.model_name=gpt", "--set", "serve.max_queue_size=9"),
        *("--set", "serve.grace_s=10", "--identity", IDENTITY, "--timeout", "660"),
    ]
    assert found.stop_s == 40
    assert found.health == ["trtkit", "deploy", "health", "--model", "gpt"]


@pytest.mark.parametrize(
    ("overrides", "options", "nodes", "gpus"),
    [
        ((), {}, 1, 4),
        ((), {"gpus_per_node": 2}, 2, 2),
        ((), {"gpus_per_node": 4}, 1, 4),
        (("target.parallel={tp: 8, pp: 2, ep: 1}",), {}, 2, 8),
        # a compute tray of GB200 NVL72 has four
        (("target.parallel={tp: 8, pp: 1, ep: 1}", "target.gpu=gb200"), {}, 2, 4),
    ],
)
def test_gpus_of_whole_nodes(overrides: tuple[str, ...], options: dict[str, int], nodes: int, gpus: int) -> None:
    found = made("gpt-oss-120b/b200-latency", *overrides, **options)
    assert (found.nodes, found.gpus, len(found.devices)) == (nodes, gpus, gpus)
    assert found.shm == (1 + gpus) * GIB


def test_memory_has_no_limit_where_the_gpu_shares_it() -> None:
    assert made("gpt-oss-20b/dgx-spark", base="own/triton:1").memory is None


@pytest.mark.parametrize(("tokens", "grace"), [(64, 60), (2000, 100), (131072, 600)])
def test_the_drain_is_as_long_as_the_longest_request(tokens: int, grace: int) -> None:
    assert made("gpt-oss-120b/b200", f"engine.max_seq_len={tokens}").grace_s == grace


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        (
            "gpt-oss-120b/b200-latency",
            {"gpus_per_node": 3},
            "4 GPUs are not a whole number of nodes with 3. Give the node's number: --gpus-per-node N",
        ),
        (
            "gpt-oss-120b/b200-latency",
            {"devices": ("0", "1")},
            "--devices names 2 GPU(s), and the parallel layout takes 4 a node",
        ),
        (
            "llama-3.1-8b/b200-compiled",
            {},
            "target.backend: the served model runs no engine of trtllm-build. "
            "Leave target.backend out: the PyTorch backend serves the same checkpoint",
        ),
    ],
)
def test_what_cannot_be_deployed(name: str, options: dict[str, object], expected: str) -> None:
    with pytest.raises(DeployError) as caught:
        made(name, **options)
    assert str(caught.value) == expected


@pytest.mark.parametrize(
    ("name", "label"),
    [("tiny-gpt-oss-cpu", "tiny-gpt-oss-cpu"), ("llama-3.1_8b.", "llama-3-1-8b"), ("a" * 51 + "..b", "a" * 51)],
)
def test_names_as_kubernetes_takes_them(name: str, label: str) -> None:
    assert dns_label(name) == label

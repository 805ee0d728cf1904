from __future__ import annotations

from typing import Any

import pytest

from tests.preflight.made_up import GIB, device, gpu_needs, machine, nvidia
from toolkit.bench.environment.devices import Device, Nvidia
from toolkit.preflight import checks_gpu
from toolkit.preflight.finding import Finding
from toolkit.preflight.machine import HostMemory

UPDATE = "Update the driver on the host"
H200 = device(name="NVIDIA H200", sm=90)
END = "End what runs there (nvidia-smi lists it)"
SHOW_ALL = (
    "Show all of them (docker run --gpus all), "
    "or make target.parallel smaller (trtkit plan gpt-oss-120b/b200 lists layouts)"
)
END_ON_HOST = "End what else runs on this host (top lists it)"


@pytest.mark.parametrize(
    ("found", "least", "finding"),
    [
        ("590.44.01", "575", Finding("driver", "ok", "590.44.01, 575 or newer needed")),
        ("600", "600.0", Finding("driver", "fail", "600, and TensorRT-LLM 1.2.1 on b200 needs 600.0 or newer", UPDATE)),
        ("600.0", "600", Finding("driver", "ok", "600.0, 600 or newer needed")),
        ("580.65.06", "580.95.05", None),
        ("1000.1", "575", Finding("driver", "ok", "1000.1, 575 or newer needed")),  # not as text
        ("570.124.06", "575", None),
        ("570.124.06", None, Finding("driver", "ok", "570.124.06")),
        (None, "575", Finding("driver", "skip", "nvidia-smi gives no version")),
    ],
)
def test_driver(found: str | None, least: str | None, finding: Finding | None) -> None:
    detail = f"{found}, and TensorRT-LLM 1.2.1 on b200 needs {least} or newer"
    expected = finding or Finding("driver", "fail", detail, UPDATE)
    asked = machine(nvidia=Nvidia((device(),), found, "13.1"))
    assert checks_gpu.driver(gpu_needs(driver=least), asked) == expected


@pytest.mark.parametrize(
    ("runs", "installed", "sure"),
    [
        ("13.1", "13.1.0.036", True),  # forward compatibility
        ("13.2", "13.1.0.036", True),
        ("13.0", "13.1.0.036", False),
        (None, "13.1.0.036", False),
        ("13.1", None, False),
        ("13.1", "newest", False),
    ],
)
def test_a_driver_older_than_the_images(runs: str | None, installed: str | None, sure: bool) -> None:
    doubt = Finding(
        "driver",
        "warn",
        "580.95.05, and the images with TensorRT-LLM 1.2.1 were built for 590.44.01",
        f"{UPDATE}, or rely on CUDA forward compatibility (data-centre GPUs)",
    )
    asked = machine(cuda_installed=installed, nvidia=Nvidia((device(),), "580.95.05", runs))
    expected = Finding("driver", "ok", "580.95.05, 575 or newer needed") if sure else doubt
    assert checks_gpu.driver(gpu_needs(), asked) == expected


@pytest.mark.parametrize(
    ("found", "status"),
    [("590.44.01", "ok"), ("590.44", "warn"), ("590.44.00", "warn"), ("590.44.02", "ok"), ("575", "warn")],
)
def test_the_driver_that_the_images_were_built_with(found: str, status: str) -> None:
    asked = machine(nvidia=Nvidia((device(),), found, "13.0"), cuda_installed="13.1.0.036")
    assert checks_gpu.driver(gpu_needs(driver="575", shipped="590.44.01"), asked).status == status


@pytest.mark.parametrize(
    ("installed", "runs", "finding"),
    [
        ("13.1.0.036", "13.1", Finding("cuda", "ok", "13.1.0.036 installed, the driver runs up to 13.1")),
        ("12.9.1", "13.0", Finding("cuda", "ok", "12.9.1 installed, the driver runs up to 13.0")),
        (
            "13.1.0",
            "13.0",
            Finding(
                "cuda",
                "warn",
                "CUDA 13.1.0 on a driver for 13.0: kernels that are compiled at run time may fail",
                UPDATE,
            ),
        ),
        (
            "13.0.2",
            "12.10",
            Finding(
                "cuda",
                "fail",
                "CUDA 13.0.2 is installed, and the driver runs up to 12.10",
                f"{UPDATE}, or use an image with CUDA 12",
            ),
        ),
        ("13.1", None, Finding("cuda", "skip", "nvidia-smi gives no CUDA version")),
        (
            None,
            "13.1",
            Finding("cuda", "skip", "the driver runs up to CUDA 13.1; CUDA_VERSION does not say what is installed"),
        ),
        (
            "newest",
            "13.1",
            Finding("cuda", "skip", "the driver runs up to CUDA 13.1; CUDA_VERSION does not say what is installed"),
        ),
    ],
)
def test_cuda(installed: str | None, runs: str | None, finding: Finding) -> None:
    asked = machine(cuda_installed=installed, nvidia=Nvidia((device(),), "580.1", runs))
    assert checks_gpu.cuda(gpu_needs(), asked) == finding


@pytest.mark.parametrize(
    ("devices", "asked", "finding"),
    [
        ([device()], {}, Finding("gpu", "ok", "NVIDIA B200 (SM 100)")),
        ([device(i) for i in range(8)], {"count": 4}, Finding("gpu", "ok", "4 × NVIDIA B200 (SM 100), 8 visible")),
        (
            [H200],
            {},
            Finding(
                "gpu",
                "fail",
                "NVIDIA H200 (SM 90), and the recipe is for b200 (SM 100)",
                "--set target.gpu=h200, or another machine",
            ),
        ),
        (
            [device(name="NVIDIA H20", sm=90)],
            {},
            Finding(
                "gpu",
                "fail",
                "NVIDIA H20 (SM 90), and the recipe is for b200 (SM 100)",
                "--set target.gpu=h100 (or h200), or another machine",
            ),
        ),
        (
            [device(name="Tesla T4", sm=75)],
            {},
            Finding(
                "gpu",
                "fail",
                "Tesla T4 (SM 75), and the recipe is for b200 (SM 100)",
                "trtkit knows no target with this SM. Type: trtkit targets",
            ),
        ),
        (
            [device(name="NVIDIA RTX PRO 6000 Blackwell Workstation Edition", sm=120)],
            {"gpu": "rtx-5090", "sm": 120},
            Finding(
                "gpu",
                "warn",
                "NVIDIA RTX PRO 6000 Blackwell Workstation Edition (SM 120): "
                "kernels as for rtx-5090, but other memory and speed",
                "--set target.gpu=rtx-pro-6000, or another machine",
            ),
        ),
        (
            [device(name="NVIDIA GB10", sm=121)],
            {"gpu": "dgx-spark", "sm": 121},
            Finding("gpu", "ok", "NVIDIA GB10 (SM 121)"),
        ),
        ([device(sm=None)], {}, Finding("gpu", "ok", "NVIDIA B200 (SM unknown)")),
        (
            [device(name="NVIDIA H200", sm=None)],
            {},
            Finding(
                "gpu",
                "fail",
                "NVIDIA H200 (SM unknown), and the recipe is for b200 (SM 100)",
                "--set target.gpu=h200, or another machine",
            ),
        ),
        (
            [device(0), device(1)],
            {"count": 8},
            Finding(
                "gpu",
                "fail",
                "2 × NVIDIA B200 (SM 100) visible, and the parallel layout takes 8",
                SHOW_ALL,
            ),
        ),
        (
            [device(0, "NVIDIA H200", 90), device(1), device(2)],
            {"count": 2},
            Finding(
                "gpu",
                "fail",
                "NVIDIA H200 (SM 90) comes first, and the recipe is for b200",
                "Set CUDA_DEVICE_ORDER=PCI_BUS_ID CUDA_VISIBLE_DEVICES=1,2",
            ),
        ),
        (
            [device(mig=True)],
            {},
            Finding(
                "gpu",
                "warn",
                "NVIDIA B200 (SM 100) is in MIG mode: sizes are those of the whole GPU, not of the slice",
                "Type on the host: nvidia-smi -mig 0",
            ),
        ),
        (
            [device(0, mig=True), device(1)],
            {"count": 2},
            Finding(
                "gpu",
                "fail",
                "NVIDIA B200 (SM 100) is in MIG mode: sizes are those of the whole GPU, not of the slice",
                "Type on the host: nvidia-smi -mig 0",
            ),
        ),
    ],
)
def test_gpu(devices: list[Device], asked: dict[str, Any], finding: Finding) -> None:
    assert checks_gpu.gpu(gpu_needs(**asked), machine(nvidia=nvidia(*devices))) == finding


@pytest.mark.parametrize(
    ("visible", "finding"),
    [
        (
            "",
            Finding("gpu", "fail", "CUDA_VISIBLE_DEVICES= shows none of 2 GPU(s)", "Type: unset CUDA_VISIBLE_DEVICES"),
        ),
        (
            "1",
            Finding(
                "gpu",
                "fail",
                "1 × NVIDIA B200 (SM 100) visible by CUDA_VISIBLE_DEVICES=1, and the parallel layout takes 2",
                SHOW_ALL,
            ),
        ),
        ("1,0", Finding("gpu", "ok", "2 × NVIDIA B200 (SM 100)")),
    ],
)
def test_gpus_that_are_hidden(visible: str, finding: Finding) -> None:
    asked = machine(nvidia=nvidia(device(0), device(1)), visible=visible)
    assert checks_gpu.gpu(gpu_needs(count=2), asked) == finding


@pytest.mark.parametrize(
    ("problem", "fix"),
    [
        (
            "no nvidia-smi on PATH",
            "Start the container with --gpus all (NVIDIA Container Toolkit), or install the driver",
        ),
        ("nvidia-smi: No devices were found", "Start the container with --gpus all"),
        (
            "nvidia-smi: Failed to initialize NVML: Driver/library version mismatch",
            "The driver was updated under a running kernel module: reboot the host",
        ),
        (
            "nvidia-smi: NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.",
            "Install the driver on the host, or load it: modprobe nvidia",
        ),
        ('nvidia-smi: Field "compute_cap" is not a valid field to query.', UPDATE),
        ("nvidia-smi did not answer within 20 s", "Type: nvidia-smi; when that works, trtkit doctor does"),
    ],
)
def test_no_answer(problem: str, fix: str) -> None:
    silent = machine(nvidia=Nvidia(problem=problem))
    assert checks_gpu.gpu(gpu_needs(), silent) == Finding("gpu", "fail", problem, fix)
    others = [check(gpu_needs(), silent).status for check in (checks_gpu.driver, checks_gpu.cuda, checks_gpu.memory)]
    assert others == ["skip", "skip", "skip"]


@pytest.mark.parametrize(
    ("devices", "asked", "finding"),
    [
        ([device()], {}, Finding("memory", "ok", "178.0 GiB of 179.0 GiB free on GPU 0")),
        (
            [device(0), device(1, memory_free=60 * GIB)],
            {"count": 2},
            Finding(
                "memory",
                "fail",
                "60.0 GiB of 179.0 GiB free on GPU 1, and the weights of one rank take 64.0 GiB",
                END,
            ),
        ),
        ([device(0), device(1, memory_free=0)], {}, Finding("memory", "ok", "178.0 GiB of 179.0 GiB free on GPU 0")),
        (
            [device(memory_total=32 * GIB, memory_free=32 * GIB)],
            {},
            Finding(
                "memory",
                "fail",
                "32.0 GiB of 32.0 GiB free on GPU 0, and the weights of one rank take 64.0 GiB",
                "Raise target.parallel.tp",
            ),
        ),
        (
            [device(memory_free=100 * GIB)],
            {"weights": None},
            Finding(
                "memory",
                "warn",
                "100.0 GiB of 179.0 GiB free on GPU 0: the KV cache gets a share of what is free",
                END,
            ),
        ),
        (
            [device()],
            {"memory": 186 * GIB},
            Finding(
                "memory",
                "warn",
                "178.0 GiB of 179.0 GiB free on GPU 0, and the plan reckons with 186.0 GiB",
                "Lower engine.max_batch_size or engine.max_seq_len",
            ),
        ),
        ([H200], {"memory": 186 * GIB}, Finding("memory", "ok", "178.0 GiB of 179.0 GiB free on GPU 0")),
        (
            [device(name="NVIDIA GB10", memory_total=None, memory_free=None)],
            {},
            Finding("memory", "skip", "nvidia-smi gives none for NVIDIA GB10", "Type: free -h"),
        ),
        ([device(mig=True)], {}, Finding("memory", "skip", "nvidia-smi does not say how large a MIG slice is")),
    ],
)
def test_memory(devices: list[Device], asked: dict[str, Any], finding: Finding) -> None:
    assert checks_gpu.memory(gpu_needs(**asked), machine(nvidia=nvidia(*devices))) == finding


@pytest.mark.parametrize(
    ("shared", "weights", "finding"),
    [
        (
            HostMemory(120 * GIB, 118 * GIB),
            64 * GIB,
            Finding("memory", "ok", "118.0 GiB of 120.0 GiB available, which CPU and GPU share"),
        ),
        (
            HostMemory(120 * GIB, 60 * GIB),
            64 * GIB,
            Finding(
                "memory",
                "fail",
                "60.0 GiB of 120.0 GiB available, which CPU and GPU share, and the weights of one rank take 64.0 GiB",
                END_ON_HOST,
            ),
        ),
        (
            HostMemory(60 * GIB, 60 * GIB),
            64 * GIB,
            Finding(
                "memory",
                "fail",
                "60.0 GiB of 60.0 GiB available, which CPU and GPU share, and the weights of one rank take 64.0 GiB",
                "Raise target.parallel.tp",
            ),
        ),
        (
            HostMemory(120 * GIB, 100 * GIB),
            64 * GIB,
            Finding(
                "memory",
                "warn",
                "100.0 GiB of 120.0 GiB available, which CPU and GPU share: the KV cache gets a share of what is free",
                END_ON_HOST,
            ),
        ),
        (None, 64 * GIB, Finding("memory", "skip", "nvidia-smi gives none for NVIDIA GB10", "Type: free -h")),
    ],
)
def test_memory_that_cpu_and_gpu_share(shared: HostMemory | None, weights: int, finding: Finding) -> None:
    spark = nvidia(device(name="NVIDIA GB10", sm=121, memory_total=None, memory_free=None))
    asked = gpu_needs(gpu="dgx-spark", sm=121, unified=True, memory=120 * GIB, weights=weights)
    assert checks_gpu.memory(asked, machine(nvidia=spark, host_memory=shared)) == finding


@pytest.mark.parametrize(
    ("name", "gpu", "same"),
    [
        ("NVIDIA B200", "b200", True),
        ("NVIDIA GB200", "b200", False),
        ("NVIDIA H100 80GB HBM3", "h100", True),
        ("NVIDIA GeForce RTX 5090", "rtx-5090", True),
        ("NVIDIA GeForce RTX 5080", "rtx-5090", False),
        ("NVIDIA GB10", "dgx-spark", True),
        ("", "b200", False),
    ],
)
def test_names(name: str, gpu: str, same: bool) -> None:
    assert checks_gpu.named(device(name=name), gpu) is same

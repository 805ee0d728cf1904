"""Whole reports on made-up machines, as a person reads them."""

from __future__ import annotations

from pathlib import Path

from tests.preflight.made_up import GIB, device, gpu_needs, machine, needs, nvidia
from tests.preflight.test_checks_software import ANOTHER, GET_VOCABULARY
from toolkit.bench.environment.devices import Nvidia
from toolkit.cli.doctor import LABELS, describe
from toolkit.preflight.doctor import judge
from toolkit.preflight.finding import Finding
from toolkit.preflight.machine import Limits, Machine, Part, Probed, Storage, Vocabulary
from toolkit.preflight.needs import Needs

MIB = 1 << 20


def report(asked: Needs, found: Machine) -> list[str]:
    return describe(judge(asked, found), LABELS).splitlines()


def test_a_good_b200_container() -> None:
    assert report(needs(), machine()) == [
        "ok   plan       the target loads the checkpoint after a change",
        "ok   release    TensorRT-LLM 1.2.1",
        "ok   packages   openai 2.8.0",
        "ok   driver     590.44.01, 575 or newer needed",
        "ok   cuda       13.1.0.036 installed, the driver runs up to 13.1",
        "ok   gpu        NVIDIA B200 (SM 100)",
        "ok   memory     178.0 GiB of 179.0 GiB free on GPU 0",
        "ok   loader     GptOssForCausalLM.load_nvfp4_weights is there",
        "ok   shm        8.0 GiB of 8.0 GiB free in /dev/shm",
        "ok   memlock    unlimited",
        "ok   stack      64 MiB",
        "ok   nofile     1,048,576 open files",
        "ok   checkpoint hub:owner/gpt-oss-120b-nvfp4 is in the cache",
        "skip cache      nothing to download",
        "ok   disk       500.0 GiB free at /work; the bundle takes 64.0 GiB",
        "ok   tokenizer  tokenizer.json in /cache/hub/snapshot",
        "ok   harmony    the vocabulary is at /vocabulary/o200k_base.tiktoken",
        "ok   triton     /opt/tritonserver/bin/tritonserver",
        "ok   ports      grpc 8001 free on 127.0.0.1",
    ]


def test_a_machine_without_a_gpu() -> None:
    found = machine(
        packages={"tensorrt-llm": None, "openai": None},
        nvidia=Nvidia(problem="no nvidia-smi on PATH"),
        cuda_installed=None,
        limits=Limits(8 * MIB, 8 * MIB, 20000),
        output=Storage("/work", 252 * GIB, 77 * GIB, True, 2),
        cache=Storage("/root", 252 * GIB, 77 * GIB, True, 2),
        cached=False,
        tokenizer=None,
        vocabulary=Vocabulary(False, "/tmp/tiktoken-rs-cache/fb37", "absent"),
        triton=Part(problem="no tritonserver on PATH"),
        probes={},
    )
    assert report(needs(), found) == [
        "ok   plan       the target loads the checkpoint after a change",
        "FAIL release    TensorRT-LLM is not installed for /usr/bin/python3, and the recipe is for 1.2.1"
        " → Run trtkit inside nvcr.io/nvidia/tensorrt-llm/release:1.2.1",
        "skip packages   openai not installed",
        "skip driver     nvidia-smi gives no version",
        "skip cuda       nvidia-smi gives no CUDA version",
        "FAIL gpu        no nvidia-smi on PATH"
        " → Start the container with --gpus all (NVIDIA Container Toolkit), or install the driver",
        "skip memory     no GPU",
        "skip loader     GptOssForCausalLM.load_nvfp4_weights: TensorRT-LLM is not installed",
        "ok   shm        8.0 GiB of 8.0 GiB free in /dev/shm",
        "warn memlock    8 MiB, unlimited is the norm → docker run --ulimit memlock=-1",
        "warn stack      8 MiB, 64 MiB is the norm → docker run --ulimit stack=67108864",
        "warn nofile     20,000 open files, a server takes more under load"
        " → docker run --ulimit nofile=65536, or: ulimit -n 65536",
        "warn checkpoint hub:owner/gpt-oss-120b-nvfp4 is not in the cache: 63.0 GiB to download"
        " → trtkit engine gpt-oss-120b/b200 --fetch does it first",
        "ok   cache      77.0 GiB free at /root",
        "FAIL disk       77.0 GiB free at /work, and bundle and download take 127.0 GiB"
        " → --set engine.output=DIR, a folder with more room",
        "skip tokenizer  comes with the download, or not",
        f"warn harmony    o200k_base.tiktoken is downloaded at first use, which fails offline → {GET_VOCABULARY}",
        "warn triton     no tritonserver on PATH"
        " → Use the image nvcr.io/nvidia/tritonserver:26.07-trtllm-python-py3; trtllm-serve needs no Triton",
        "ok   ports      grpc 8001 free on 127.0.0.1",
    ]


def test_the_wrong_container_on_the_wrong_host() -> None:
    """Docker's default /dev/shm, an older release, an old driver, another GPU, and fewer of them than TP."""
    found = machine(
        packages={"tensorrt-llm": "1.1.0", "openai": "1.107.3"},
        nvidia=nvidia(device(0, "NVIDIA H200", 90), driver="570.124.06", cuda="12.8"),
        cuda_installed="13.0.2.006",
        shm=Storage("/dev/shm", 64 * MIB, 64 * MIB, True, 1),
        limits=Limits(64 << 10, 8 * MIB, 1 << 20),
        vocabulary=Vocabulary(True, "/vocabulary/o200k_base.tiktoken", "damaged", ANOTHER),
        probes={"gpt-oss-nvfp4-loader": Probed(False)},
    )
    assert report(needs(gpu_needs(count=8)), found) == [
        "ok   plan       the target loads the checkpoint after a change",
        "FAIL release    TensorRT-LLM 1.1.0 is installed, and the recipe is for 1.2.1"
        " → --set target.release=1.1.0, or run trtkit inside nvcr.io/nvidia/tensorrt-llm/release:1.2.1",
        "FAIL packages   openai 1.107.3 breaks TensorRT-LLM: ImportError: cannot import name 'PartReasoningText'"
        " → Type: pip install -U openai",
        "FAIL driver     570.124.06, and TensorRT-LLM 1.2.1 on b200 needs 575 or newer → Update the driver on the host",
        "FAIL cuda       CUDA 13.0.2.006 is installed, and the driver runs up to 12.8"
        " → Update the driver on the host, or use an image with CUDA 12",
        "FAIL gpu        NVIDIA H200 (SM 90), and the recipe is for b200 (SM 100)"
        " → --set target.gpu=h200, or another machine",
        "ok   memory     178.0 GiB of 179.0 GiB free on GPU 0",
        "FAIL loader     no GptOssForCausalLM.load_nvfp4_weights: this release reads the experts of gpt-oss as BF16 or"
        " MXFP4 only → Use a release that has it, or a bundle with MXFP4 weights (--set target.weights=mxfp4)",
        "FAIL shm        /dev/shm has 64 MiB, and 1.0 GiB are needed"
        " → Start the container with --shm-size=8g, or with --ipc=host",
        "warn memlock    64 KiB, unlimited is the norm → docker run --ulimit memlock=-1",
        "warn stack      8 MiB, 64 MiB is the norm → docker run --ulimit stack=67108864",
        "ok   nofile     1,048,576 open files",
        "ok   checkpoint hub:owner/gpt-oss-120b-nvfp4 is in the cache",
        "skip cache      nothing to download",
        "ok   disk       500.0 GiB free at /work; the bundle takes 64.0 GiB",
        "ok   tokenizer  tokenizer.json in /cache/hub/snapshot",
        "FAIL harmony    TIKTOKEN_ENCODINGS_BASE is set, and /vocabulary/o200k_base.tiktoken is damaged:"
        f" its SHA-256 is another → {GET_VOCABULARY}",
        "ok   triton     /opt/tritonserver/bin/tritonserver",
        "ok   ports      grpc 8001 free on 127.0.0.1",
    ]


def test_tp_8_on_a_host_of_four() -> None:
    found = machine(nvidia=nvidia(*(device(index) for index in range(4))))
    (gpu,) = [line for line in report(needs(gpu_needs(count=8)), found) if line.startswith("FAIL")]
    assert gpu == (
        "FAIL gpu        4 × NVIDIA B200 (SM 100) visible, and the parallel layout takes 8"
        " → Show all of them (docker run --gpus all), or make target.parallel smaller"
        " (trtkit plan gpt-oss-120b/b200 lists layouts)"
    )


def test_the_cpu_runtime_checks_only_what_it_uses() -> None:
    asked = Needs(
        plan=Finding("plan", "ok", "the target loads the checkpoint as it is"),
        output=Path("build/bundle"),
        output_bytes=5 * MIB,
    )
    found = machine(
        shm=Storage("/dev/shm", 64 * MIB, 64 * MIB, True, 1),
        limits=Limits(64 << 10, 8 * MIB, 1024),
        nvidia=Nvidia(),
        vocabulary=None,
        cache=None,
        triton=Part(
            problem="the Python package 'nvidia-pytriton' is not installed", fix="Type: pip install 'trtkit[server]'"
        ),
    )
    assert report(asked, found) == [
        "ok   plan      the target loads the checkpoint as it is",
        "ok   shm       64 MiB of 64 MiB free in /dev/shm",
        "ok   disk      500.0 GiB free at /work; the bundle takes 5 MiB",
        "ok   tokenizer tokenizer.json in /cache/hub/snapshot",
        "FAIL triton    the Python package 'nvidia-pytriton' is not installed → Type: pip install 'trtkit[server]'",
        "ok   ports     grpc 8001 free on 127.0.0.1",
    ]

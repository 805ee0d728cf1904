from __future__ import annotations

import pytest

from tests.preflight.made_up import gpu_needs, machine
from toolkit.preflight import checks_software
from toolkit.preflight.finding import Finding
from toolkit.preflight.known import load_known
from toolkit.preflight.machine import Part, Probed, Vocabulary

IMAGE = "nvcr.io/nvidia/tensorrt-llm/release:1.2.1"
FEATURE = load_known().features[0]
VOCABULARY = "/vocabulary/o200k_base.tiktoken"
GET_VOCABULARY = (
    "Type: curl -fLO https://openaipublic.blob.core.windows.net/encodings/o200k_base.tiktoken, "
    "put it into a folder and set TIKTOKEN_ENCODINGS_BASE to it"
)
ANOTHER = "is damaged: its SHA-256 is another"


@pytest.mark.parametrize(
    ("found", "finding"),
    [
        ("1.2.1", Finding("release", "ok", "TensorRT-LLM 1.2.1")),
        ("1.2.1+cu131", Finding("release", "ok", "TensorRT-LLM 1.2.1+cu131")),
        (
            "1.2.10",
            Finding(
                "release",
                "fail",
                "TensorRT-LLM 1.2.10 is installed, and the recipe is for 1.2.1",
                f"Run trtkit inside {IMAGE}",
            ),
        ),
        (
            "1.1.0+local",
            Finding(
                "release",
                "fail",
                "TensorRT-LLM 1.1.0+local is installed, and the recipe is for 1.2.1",
                f"--set target.release=1.1.0, or run trtkit inside {IMAGE}",
            ),
        ),
        (
            None,
            Finding(
                "release",
                "fail",
                "TensorRT-LLM is not installed for /usr/bin/python3, and the recipe is for 1.2.1",
                f"Run trtkit inside {IMAGE}",
            ),
        ),
    ],
)
def test_release(found: str | None, finding: Finding) -> None:
    assert checks_software.release(gpu_needs(), machine(packages={"tensorrt-llm": found})) == finding


@pytest.mark.parametrize(
    ("found", "finding"),
    [
        ("2.8.0", Finding("packages", "ok", "openai 2.8.0")),
        (None, Finding("packages", "skip", "openai not installed")),
        (
            "1.107.3",
            Finding(
                "packages",
                "fail",
                "openai 1.107.3 breaks TensorRT-LLM: ImportError: cannot import name 'PartReasoningText'",
                "Type: pip install -U openai",
            ),
        ),
    ],
)
def test_packages(found: str | None, finding: Finding) -> None:
    assert checks_software.packages(machine(packages={"tensorrt-llm": "1.2.1", "openai": found})) == finding


@pytest.mark.parametrize(
    ("probed", "finding"),
    [
        (Probed(True), Finding("loader", "ok", "GptOssForCausalLM.load_nvfp4_weights is there")),
        (
            Probed(False),
            Finding(
                "loader",
                "fail",
                "no GptOssForCausalLM.load_nvfp4_weights: "
                "this release reads the experts of gpt-oss as BF16 or MXFP4 only",
                "Use a release that has it, or a bundle with MXFP4 weights (--set target.weights=mxfp4)",
            ),
        ),
        (
            Probed(problem="importing x took more than 180 s"),
            Finding(
                "loader",
                "fail",
                "importing x took more than 180 s",
                'Type: python3 -c "import tensorrt_llm._torch.models.modeling_gpt_oss"',
            ),
        ),
        (
            None,
            Finding("loader", "skip", "GptOssForCausalLM.load_nvfp4_weights: TensorRT-LLM is not installed"),
        ),
    ],
)
def test_loader(probed: Probed | None, finding: Finding) -> None:
    probes = {} if probed is None else {FEATURE.id: probed}
    assert checks_software.loader(FEATURE, machine(probes=probes)) == finding


def test_triton() -> None:
    assert checks_software.triton(gpu_needs(), machine()) == Finding(
        "triton", "ok", "/opt/tritonserver/bin/tritonserver"
    )


@pytest.mark.parametrize(
    ("image", "fix"),
    [
        ("nvcr.io/x:26.07-trtllm", "Use the image nvcr.io/x:26.07-trtllm; trtllm-serve needs no Triton"),
        (None, "No Triton image is known for this release; trtllm-serve needs no Triton"),
    ],
)
def test_a_container_without_triton(image: str | None, fix: str) -> None:
    without = machine(triton=Part(problem="no tritonserver on PATH"))
    found = checks_software.triton(gpu_needs(triton_image=image), without)
    assert found == Finding("triton", "warn", "no tritonserver on PATH", fix)


def test_the_cpu_runtime_without_triton() -> None:
    wheel = machine(triton=Part(problem="numpy 2.1 is installed", fix="Type: pip install 'numpy<2'"))
    expected = Finding("triton", "fail", "numpy 2.1 is installed", "Type: pip install 'numpy<2'")
    assert checks_software.triton(None, wheel) == expected


def test_tokenizer() -> None:
    assert checks_software.tokenizer(machine(), to_fetch=True) == Finding(
        "tokenizer", "ok", "tokenizer.json in /cache/hub/snapshot"
    )
    assert checks_software.tokenizer(machine(tokenizer=None), to_fetch=True) == Finding(
        "tokenizer", "skip", "comes with the download, or not"
    )
    assert checks_software.tokenizer(machine(tokenizer=None), to_fetch=False) == Finding(
        "tokenizer",
        "fail",
        "neither the checkpoint nor a built bundle has tokenizer.json",
        "--set checkpoint.tokenizer=DIR, a folder with tokenizer.json",
    )


@pytest.mark.parametrize(
    ("found", "finding"),
    [
        (Vocabulary(True, VOCABULARY, "good"), Finding("harmony", "ok", f"the vocabulary is at {VOCABULARY}")),
        (Vocabulary(False, "/tmp/x", "good"), Finding("harmony", "ok", "the vocabulary is at /tmp/x")),
        (
            Vocabulary(True, VOCABULARY, "absent"),
            Finding(
                "harmony",
                "fail",
                f"TIKTOKEN_ENCODINGS_BASE is set, and {VOCABULARY} is not there",
                GET_VOCABULARY,
            ),
        ),
        (
            Vocabulary(True, VOCABULARY, "damaged", ANOTHER),
            Finding(
                "harmony",
                "fail",
                f"TIKTOKEN_ENCODINGS_BASE is set, and {VOCABULARY} {ANOTHER}",
                GET_VOCABULARY,
            ),
        ),
        (
            Vocabulary(False, "/tmp/x", "damaged", ANOTHER),  # it is downloaded again
            Finding(
                "harmony",
                "warn",
                "o200k_base.tiktoken is downloaded at first use, which fails offline",
                GET_VOCABULARY,
            ),
        ),
        (
            Vocabulary(False, "/tmp/x", "absent", kept="/cache/trtkit/harmony", tokenizer="/bundle/checkpoint"),
            Finding(
                "harmony",
                "ok",
                "trtkit chat has the vocabulary in /cache/trtkit/harmony",
                "Set TIKTOKEN_ENCODINGS_BASE to that folder, for trtllm-serve",
            ),
        ),
        (
            Vocabulary(False, "/tmp/x", "absent", tokenizer="/bundle/checkpoint"),
            Finding(
                "harmony",
                "warn",
                "trtkit chat makes the vocabulary from /bundle/checkpoint/tokenizer.json; trtllm-serve downloads it",
                GET_VOCABULARY,
            ),
        ),
        (
            Vocabulary(False, "/tmp/x", "absent"),
            Finding(
                "harmony",
                "warn",
                "o200k_base.tiktoken is downloaded at first use, which fails offline",
                GET_VOCABULARY,
            ),
        ),
    ],
)
def test_harmony(found: Vocabulary, finding: Finding) -> None:
    assert checks_software.harmony(found) == finding

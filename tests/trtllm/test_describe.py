from __future__ import annotations

import json

import pytest

from toolkit.trtllm import load_targets
from toolkit.trtllm.describe import document_of, lines, lines_of


def test_the_tables() -> None:
    text = list(lines(load_targets()))
    assert [line.strip() for line in text if line and not line.startswith(" ")] == [
        "Releases",
        "GPUs",
        "Kernels",
        "Triton images",
        "Facts as of 2026-11-24. One with its sources: trtkit targets NAME",
    ]
    assert text[1:9] == [
        "                      gpt-oss  NVFP4 gpt-oss  trtllm-build  ModelOpt's JSON read"
        "                    MoE default",
        "  1.0.0               no       no             legacy        hf_quant_config.json                    CUTLASS",
        "  1.1.0               yes      no             legacy        hf_quant_config.json                    CUTLASS",
        "  1.2.0, 1.2.1        yes      unverified     legacy        hf_quant_config.json                    CUTLASS",
        "  1.3.0rc0, 1.3.0rc1  yes      expected       deprecated    hf_quant_config.json                    CUTLASS",
        "  1.3.0rc2 to rc20    yes      expected       deprecated    hf_quant_config.json                    AUTO",
        "  1.3.0rc21 to rc29   yes      expected       removed       hf_quant_config.json, else config.json  AUTO",
        "  1.4.0rc0, 1.4.0rc1  yes      expected       removed       hf_quant_config.json, else config.json  AUTO",
    ]
    assert "  dgx-spark     121  119.7 GiB  unified      not known" in text
    assert not [line for line in text if line != line.rstrip()]


def test_every_gpu_kernel_and_triton_image_is_in_the_tables() -> None:
    targets = load_targets()
    words = {line.split()[0] for line in lines(targets) if line.strip()}
    triton = {image.tag for image in targets.images if image.kind == "triton"}
    assert words >= {*targets.gpus, *triton, *(kernel.fact.id for kernel in targets.kernels)}


def test_a_gpu_with_its_kernels_and_facts() -> None:
    targets = load_targets()
    text = list(lines_of(targets, targets.find("dgx-spark")))
    assert text[:9] == [
        "dgx-spark: NVIDIA DGX Spark (GB10)",
        "  SM                121",
        "  memory            119.7 GiB (128538451968 bytes)",
        "  kind              unified",
        "  driver            not known",
        "\nKernels",
        "                               weights  backend  algorithm         SM                      status",
        "  gpt-oss-mxfp4-cutlass-sm121  mxfp4    CUTLASS  W4A8_MXFP4_MXFP8  121"
        "                     contested #8474 #11313, since 1.2.0",
        "  gpt-oss-bf16-cutlass         bf16     CUTLASS  BF16              90, 100, 103, 120, 121  contested",
    ]
    assert text[-9:] == [
        "  dgx-spark-sm (verified, 2026-11-24)",
        "    Compute capability 12.1.",
        "    source: https://developer.nvidia.com/cuda-gpus",
        "  dgx-spark-memory (verified, 2026-11-24)",
        "    119.7 GiB of the 128 GiB that CPU and GPU share; nvidia-smi shows none, "
        "and whatever else runs takes from it.",
        "    source: ai-dynamo/aiconfigurator @f0f12663: src/aiconfigurator/systems/gb10.yaml; "
        "ggml-org/llama.cpp#16931 (nvidia-smi)",
        "  dgx-spark-support (verified, 2026-11-24)",
        "    It is on TensorRT-LLM's list of supported hardware.",
        "    source: https://nvidia.github.io/TensorRT-LLM/supported-hardware.html",
    ]


def test_a_release_with_its_images_and_facts() -> None:
    targets = load_targets()
    text = list(lines_of(targets, targets.find("1.3.0rc22")))
    assert text[:13] == [
        "TensorRT-LLM 1.3.0rc22: candidates without the TensorRT backend",
        "  gpt-oss           yes",
        "  NVFP4 gpt-oss     expected",
        "  TensorRT backend  no",
        "  trtllm-build      removed",
        "  JSON read         hf_quant_config.json, else config.json",
        "  MoE default       AUTO",
        '  to make sure      python3 -c "from tensorrt_llm._torch.models.modeling_gpt_oss '
        "import GptOssForCausalLM as M; print(hasattr(M, 'load_nvfp4_weights'))\"",
        "\nImages",
        "                     TensorRT-LLM  CUDA  driver     size",
        "  release:1.3.0rc22  1.3.0rc22     13.2  595.58.03  -",
        "\nFacts",
        "  trtllm-1.3-after-removal-gpt-oss (verified, 2026-11-24)",
    ]
    assert "to make sure" not in "".join(lines_of(targets, targets.find("1.1.0")))


def test_an_image() -> None:
    targets = load_targets()
    assert list(lines_of(targets, targets.find("25.12"))) == [
        "nvcr.io/nvidia/tritonserver:25.12-trtllm-python-py3",
        "  TensorRT-LLM      1.1.0",
        "  CUDA              13.0.2.006",
        "  driver            580.95.05",
        "  torch             2.9.0a0",
        "  size              16.04 GB",
        "\nFacts",
        "  triton-25.12 (verified, 2026-11-24)",
        "    Triton 25.12 ships TensorRT-LLM 1.1.0.",
        "    source: triton-inference-server/server @e1db8a60: docs/introduction/compatibility.md",
    ]


def test_a_kernel_that_must_be_asked_for() -> None:
    targets = load_targets()
    assert list(lines_of(targets, targets.find("linear-nvfp4-marlin")))[:4] == [
        "                       weights  backend  algorithm    SM  status",
        "  linear-nvfp4-marlin  nvfp4    MARLIN   W4A16_NVFP4  90  contested #13476 #14775, since 1.3.0rc27, opt-in",
        "  opt-in            nvfp4_gemm_config.allowed_backends=[marlin]",
        "\nFacts",
    ]


def test_a_fact_alone() -> None:
    targets = load_targets()
    assert list(lines_of(targets, targets.find("gpt-oss-driver"))) == [
        "  gpt-oss-driver (verified, 2026-11-24)",
        "    NVIDIA's gpt-oss guide asks for CUDA driver 575 or later.",
        "    source: docs/source/deployment-guide/deployment-guide-for-gpt-oss-on-trtllm.md @d2c804bc",
    ]


@pytest.mark.parametrize("name", ["b200", "1.2.1", "26.07", "gpt-oss-nvfp4-trtllm", "model-map", None])
def test_a_document_is_json_and_dated(name: str | None) -> None:
    targets = load_targets()
    document = document_of(targets, None if name is None else targets.find(name))
    assert json.loads(json.dumps(document)) == document
    assert str(document["checked"]) == "2026-11-24"


def test_the_whole_document() -> None:
    targets = load_targets()
    document = document_of(targets, None)
    assert set(document) == {"checked", "eras", "gpt_oss_nvfp4", "gpus", "kernels", "notes", "images"}
    assert [name for era in document["eras"] for name in era["releases"]] == list(targets.releases)
    assert document["gpus"]["h200"]["memory_bytes"] == 150754820096


def test_what_belongs_to_a_gpu_and_to_a_release() -> None:
    targets = load_targets()
    gpu = document_of(targets, targets.find("rtx-5090"))
    assert gpu["kernels"][0]["fact"]["id"] == "gpt-oss-mxfp4-cutlass-sm120"
    release = document_of(targets, targets.find("1.2.0"))
    assert [image["tag"] for image in release["images"]] == ["26.03", "release:1.2.0"]

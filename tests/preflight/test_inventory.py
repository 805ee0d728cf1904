from __future__ import annotations

import importlib.util
import platform
from pathlib import Path

import numpy as np
import pytest

from tests.chat import o200k
from tests.preflight.made_up import fake_nvidia_smi
from toolkit.preflight import inventory
from toolkit.preflight.finding import Finding
from toolkit.preflight.inventory import examine
from toolkit.preflight.machine import Part


def by_name() -> dict[str, Finding]:
    return {finding.name: finding for finding in examine()}


def test_what_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(inventory, "cpu_triton", lambda: Part("nvidia-pytriton 0.7.0 at /site/pytriton"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(
        inventory, "versions", lambda: {"python": "3.11.7", "numpy": np.__version__, "tensorrt-llm": None}
    )
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setattr(inventory.backend, "problem", lambda: None)
    monkeypatch.setenv("TRTKIT_NATIVE", "off")
    assert examine() == [
        Finding("python", "ok", f"3.11.7 on {platform.system()} {platform.machine()}"),
        Finding("cpu", "ok", f"CPU runtime with NumPy {np.__version__}, 2 cores"),
        Finding("codecs", "ok", "NumPy, as TRTKIT_NATIVE says"),
        Finding("triton", "ok", "nvidia-pytriton 0.7.0 at /site/pytriton"),
        Finding("report", "skip", "missing altair, vl_convert", "Type: pip install 'trtkit[report]'"),
        Finding("chat", "skip", "missing openai_harmony, jinja2", "Type: pip install 'trtkit[chat]'"),
        Finding("gpu", "skip", "no nvidia-smi on PATH"),
        Finding("tensorrt", "skip", "comes with NVIDIA's containers"),
    ]


@pytest.mark.parametrize(
    ("name", "problem", "expected"),
    [
        ("c avx2", None, Finding("codecs", "ok", "C kernels, avx2")),
        (
            "numpy",
            "not compiled",
            Finding(
                "codecs",
                "ok",
                "NumPy: the C kernels are not compiled",
                "Type: python -m toolkit.numerics.native.build",
            ),
        ),
    ],
)
def test_what_runs_the_codecs(
    monkeypatch: pytest.MonkeyPatch, name: str, problem: str | None, expected: Finding
) -> None:
    monkeypatch.setattr(inventory, "versions", lambda: {"python": "3.11.7", "numpy": "1.26.4", "tensorrt-llm": None})
    monkeypatch.setattr(inventory.backend, "name", lambda: name)
    monkeypatch.setattr(inventory.backend, "problem", lambda: problem)
    assert by_name()["codecs"] == expected


def test_a_wish_for_the_codecs_that_cannot_be_met(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "versions", lambda: {"python": "3.11.7", "numpy": "1.26.4", "tensorrt-llm": None})
    monkeypatch.setenv("TRTKIT_NATIVE", "sse")
    assert by_name()["codecs"] == Finding(
        "codecs",
        "fail",
        "TRTKIT_NATIVE is 'sse'",
        "Set it to off, scalar, avx2, avx512, neon, or unset it",
    )


def test_where_the_vocabulary_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packages = "openai_harmony, jinja2; Harmony's vocabulary"
    for variable in ("TIKTOKEN_ENCODINGS_BASE", "TIKTOKEN_RS_CACHE_DIR"):
        monkeypatch.setenv(variable, str(tmp_path))
    assert by_name()["chat"] == Finding("chat", "ok", f"{packages} comes from the tokenizer.json of gpt-oss")
    (tmp_path / "o200k_base.tiktoken").write_bytes(o200k.vocabulary())
    assert by_name()["chat"] == Finding("chat", "ok", f"{packages} is at {tmp_path}/o200k_base.tiktoken")


def test_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    fake_nvidia_smi(tmp_path)
    assert by_name()["gpu"] == Finding("gpu", "ok", "NVIDIA H100 80GB HBM3 (SM 90); driver 580.159.04, CUDA 13.0")


def test_a_driver_that_fails_is_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    fake_nvidia_smi(tmp_path, query="No devices were found\n", code=6)
    assert by_name()["gpu"] == Finding("gpu", "skip", "nvidia-smi: No devices were found")


def test_no_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "cpu_triton", lambda: Part(problem="no such package", fix="Type: pip install it"))
    assert by_name()["triton"] == Finding("triton", "skip", "no such package", "Type: pip install it")


def test_tensorrt_llm(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"python": "3.12.3", "numpy": "1.26.4", "tensorrt-llm": "1.2.1", "nvidia-pytriton": None}
    monkeypatch.setattr(inventory, "versions", lambda: found)
    assert by_name()["tensorrt"] == Finding("tensorrt", "ok", "tensorrt-llm 1.2.1")

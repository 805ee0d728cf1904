"""Made-up machines and targets, and a fake nvidia-smi and tensorrt_llm for the real probes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest

from toolkit.bench.environment.devices import Device, Nvidia
from toolkit.preflight.finding import Finding
from toolkit.preflight.known import load_known
from toolkit.preflight.machine import Limits, Machine, Part, Probed, Storage, Vocabulary
from toolkit.preflight.needs import GPU_SHM, GpuNeeds, Needs

GIB = 1 << 30
NAMED = "gpt-oss-120b/b200"
KNOWN = {"b200": 100, "gb200": 100, "b300": 103, "h100": 90, "h200": 90, "rtx-5090": 120, "rtx-pro-6000": 120}
# Answers of driver 580 on one H100, as it gave them; the UUID is made up.
H100_ROW = (
    "0, NVIDIA H100 80GB HBM3, GPU-11111111-2222-3333-4444-555555555555, 580.159.04, 9.0, 81559, 81079, Disabled\n"
)
H100_REPORT = """
==============NVSMI LOG==============

Timestamp                                              : Tue Nov 24 11:50:08 2026
Driver Version                                         : 580.159.04
CUDA Version                                           : 13.0

Attached GPUs                                          : 1
GPU 00000000:00:06.0
    FB Memory Usage
        Total                                          : 81559 MiB
"""


def device(index: int = 0, name: str = "NVIDIA B200", sm: int | None = 100, **changes: Any) -> Device:
    sizes = {"memory_total": 179 * GIB, "memory_free": 178 * GIB}
    return Device(index=index, name=name, uuid=f"GPU-{index}000", sm=sm, **{**sizes, **changes})


def nvidia(*devices: Device, driver: str = "590.44.01", cuda: str = "13.1") -> Nvidia:
    return Nvidia(devices or (device(),), driver, cuda)


def gpu_needs(**changes: Any) -> GpuNeeds:
    asked: dict[str, Any] = {
        "release": "1.2.1",
        "gpu": "b200",
        "sm": 100,
        "count": 1,
        "known": KNOWN,
        "releases": ("1.1.0", "1.2.1"),
        "image": "nvcr.io/nvidia/tensorrt-llm/release:1.2.1",
        "triton_image": "nvcr.io/nvidia/tritonserver:26.07-trtllm-python-py3",
        "memory": 178 * GIB,
        "driver": "575",
        "shipped": "590.44.01",
        "weights": 64 * GIB,
        "named": NAMED,
    }
    return GpuNeeds(**{**asked, **changes})


def needs(gpu: GpuNeeds | None = None, **changes: Any) -> Needs:
    """Those of gpt-oss-120b on a B200, unless changed."""
    asked: dict[str, Any] = {
        "plan": Finding("plan", "ok", "the target loads the checkpoint after a change"),
        "output": Path("build/bundle"),
        "gpu": gpu or gpu_needs(),
        "shm": GPU_SHM,
        "output_bytes": 64 * GIB,
        "repo": "owner/gpt-oss-120b-nvfp4",
        "fetch_bytes": 63 * GIB,
        "harmony": True,
        "features": load_known().features,
        "named": NAMED,
    }
    return Needs(**{**asked, **changes})


def machine(**changes: Any) -> Machine:
    """A B200 container in which everything is as it should be, unless changed."""
    good: dict[str, Any] = {
        "python": "/usr/bin/python3",
        "packages": {"tensorrt-llm": "1.2.1", "openai": "2.8.0"},
        "nvidia": nvidia(),
        "visible": None,
        "cuda_installed": "13.1.0.036",
        "shm": Storage("/dev/shm", 8 * GIB, 8 * GIB, True, 1),
        "limits": Limits(None, 64 << 20, 1 << 20),
        "output": Storage("/work", 900 * GIB, 500 * GIB, True, 2),
        "has_bundle": False,
        "cache": Storage("/cache/hub", 900 * GIB, 500 * GIB, True, 2),
        "cached": True,
        "offline": False,
        "tokenizer": "/cache/hub/snapshot",
        "vocabulary": Vocabulary(True, "/vocabulary/o200k_base.tiktoken", "good"),
        "ports": Part("grpc 8001 free on 127.0.0.1"),
        "triton": Part("/opt/tritonserver/bin/tritonserver"),
        "probes": {"gpt-oss-nvfp4-loader": Probed(True)},
    }
    return Machine(**{**good, **changes})


def fake_nvidia_smi(folder: Path, query: str = H100_ROW, report: str = H100_REPORT, code: int = 0) -> Path:
    """A ``nvidia-smi`` in ``folder`` that answers so to a query and to anything else, and ends with ``code``."""
    (folder / "query").write_text(query)
    (folder / "report").write_text(report)
    cat = 'while IFS= read -r line || [ -n "$line" ]; do printf \'%s\\n\' "$line"; done'
    script = f"case $1 in --query-gpu=*) f=query ;; *) f=report ;; esac\n{cat} < {folder}/$f\nexit {code}"
    return executable(folder / "nvidia-smi", script)


def without_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a read-only container: no folder that Python would take for temporary files is there."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/proc/nowhere"])
    with pytest.raises(FileNotFoundError, match="No usable temporary directory"):
        tempfile.gettempdir()


def executable(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def fake_tensorrt_llm(folder: Path, version: str, model: str) -> Path:
    """An installed ``tensorrt_llm`` in ``folder``; ``model`` is the text of its modeling_gpt_oss.py."""
    package = folder / "tensorrt_llm"
    models = package / "_torch" / "models"
    models.mkdir(parents=True)
    for part in (package, package / "_torch", models):
        (part / "__init__.py").write_text("")
    (package / "__init__.py").write_text(f"print('[TensorRT-LLM] TensorRT-LLM version: {version}')\n")
    (models / "modeling_gpt_oss.py").write_text(model)
    info = folder / f"tensorrt_llm-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: tensorrt_llm\nVersion: {version}\n")
    return folder


WITH_NVFP4 = "class GptOssForCausalLM:\n    def load_nvfp4_weights(self): ...\n"
WITHOUT_NVFP4 = "class GptOssForCausalLM: ...\n"

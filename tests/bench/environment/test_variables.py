from __future__ import annotations

import hashlib

import pytest

from toolkit.bench.environment.variables import image_digest, overrides


def hashed(value: str) -> str:
    return f"sha256:{hashlib.sha256(value.encode()).hexdigest()[:12]}"


def test_settings_that_count() -> None:
    environ = {
        "NCCL_ALGO": "Ring,Tree",
        "TRTLLM_ENABLE_PDL": "1",
        "NCCL_BUFFSIZE": "4M",
        "CUDA_MODULE_LOADING": "LAZY",
        "NCCL_VERSION": "2.27.7",
        "CUDA_VERSION": "13.0.0",
        "HOME": "/home/someone",
        "TLLM_API_KEY": "secret",
    }
    assert overrides(environ) == {
        "CUDA_MODULE_LOADING": "LAZY",
        "NCCL_ALGO": "Ring,Tree",
        "NCCL_BUFFSIZE": "4M",
        "TRTLLM_ENABLE_PDL": "1",
    }
    assert list(overrides(environ)) == sorted(overrides(environ))


@pytest.mark.parametrize("value", ["/home/someone/topo.xml", "somehost:1234", "eth0", "10.0.0.1:80", "", "Ring,eth0"])
def test_names_are_hashed(value: str) -> None:
    assert overrides({"NCCL_ANY": value}) == {"NCCL_ANY": hashed(value)}


@pytest.mark.parametrize(
    ("reference", "digest"),
    [
        (f"nvcr.io/nvidia/tritonserver@sha256:{'a' * 64}", f"sha256:{'a' * 64}"),
        ("nvcr.io/nvidia/tritonserver:26.07", None),
        ("", None),
    ],
)
def test_image_digest(reference: str, digest: str | None) -> None:
    assert image_digest({"TRTKIT_IMAGE": reference}) == digest
    assert image_digest({}) is None

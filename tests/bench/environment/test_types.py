from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from toolkit.bench.environment.types import Context, Environment, Gpu, Identity, identity_digest

# As version 1 wrote it.
FIRST: dict[str, Any] = {
    "schema_version": 1,
    "env_id": "11a2aeddd704",
    "identity": {
        "hardware": "CPU",
        "cpu_model": "AMD EPYC",
        "cpu_cores": 2,
        "cpu_quota": None,
        "memory_gib": 24,
        "os": "Linux x86_64",
        "blas": "openblas64 0.3.23.dev",
        "software": {
            "python": "3.11.7",
            "trtkit": "0.1.0",
            "codecs": "c avx512",
            "numpy": "1.26.4",
            "pydantic": "2.14.4",
            "tokenizers": "0.23.3",
            "tritonclient": "2.73.0",
            "nvidia-pytriton": "0.7.0",
            "tensorrt-llm": None,
            "tensorrt": None,
            "grpcio": "1.85.3",
        },
        "trtkit_source": "5c708bd15243",
    },
    "context": {
        "kernel": "6.18.44-fc-v669",
        "hostname_sha256": "5bce98f73f3e",
        "git_commit": "80e1769366405c0b453880ac7694e359061f076c",
        "first_seen": "2026-11-24T14:20:31.065Z",
    },
}
CONTEXT = Context(kernel="6.0", hostname_sha256="0" * 12, git_commit=None, first_seen="2025-01-01T00:00:00.000Z")
SOFTWARE: dict[str, str | None] = {"tensorrt-llm": "1.2.1"}


def read(record: dict[str, Any]) -> Environment:
    return Environment.model_validate_json(json.dumps(record))


def test_a_record_of_schema_1() -> None:
    found = read(FIRST)
    assert (found.schema_version, found.env_id, found.identity.gpus) == (1, "11a2aeddd704", ())
    assert found.hardware == "AMD EPYC, 2 cores, 24 GiB"
    assert Environment.model_validate_json(found.model_dump_json()) == found


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"schema_version": 3}, "Input should be 1 or 2"),
        ({"identity": {**FIRST["identity"], "cpu_cores": 3}}, "env_id is not that of its identity"),
        ({"identity": {**FIRST["identity"], "more": 3}}, "Extra inputs are not permitted"),
        ({"schema_version": 2}, "env_id is not that of its identity"),
    ],
)
def test_records_that_are_refused(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        read({**FIRST, **change})


def test_how_hardware_is_shown() -> None:
    limited = Identity.model_validate({**FIRST["identity"], "cpu_quota": 1.5})
    made = Environment(env_id=identity_digest(limited), identity=limited, context=CONTEXT)
    assert made.hardware == "AMD EPYC, 2 cores limited to 1.5, 24 GiB"
    gpus = (Gpu(name="NVIDIA B200", memory_mib=183359, mig=None),)
    identity = Identity(
        hardware="NVIDIA B200", os="Linux", software=SOFTWARE, trtkit_source="", gpus=gpus, driver="590.44.01"
    )
    made = Environment(env_id=identity_digest(identity), identity=identity, context=CONTEXT)
    assert made.hardware == "NVIDIA B200, driver 590.44.01, TensorRT-LLM 1.2.1"

from __future__ import annotations

import json
import os
import platform
import re
import sys

import numpy as np
import pytest

from tests.bench.nvml_stand_in import StandIn, h100
from toolkit.bench.environment import Environment, Gpu, fingerprint, utc_now
from toolkit.bench.environment.types import identity_digest

fingerprint_module = sys.modules["toolkit.bench.environment.fingerprint"]


def test_the_fingerprint_of_this_machine() -> None:
    found = fingerprint()
    identity = found.identity
    assert (found.schema_version, identity.hardware, identity.gpus) == (2, "CPU", ())
    assert identity.cpu_cores == len(os.sched_getaffinity(0))
    assert identity.software["numpy"] == np.__version__
    assert identity.software["python"] == platform.python_version()
    assert {"trtkit", "tritonclient", "grpcio", "nvidia-pytriton"} <= identity.software.keys()
    assert identity.blas
    assert identity.memory_gib is not None
    assert identity.memory_gib >= 1
    assert found.hardware.startswith(f"{identity.cpu_model}, {identity.cpu_cores} cores")
    assert Environment.model_validate_json(found.model_dump_json()) == found


def test_the_id_is_that_of_the_identity_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    first = fingerprint()
    assert first.env_id == identity_digest(first.identity)
    monkeypatch.setattr(platform, "release", lambda: "another kernel")
    second = fingerprint()
    assert (second.env_id, second.context.kernel) == (first.env_id, "another kernel")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(99)))
    assert fingerprint().env_id != first.env_id


def test_the_fingerprint_of_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    module = StandIn([h100(UUID="GPU-a"), h100(UUID="GPU-b")])
    monkeypatch.setitem(sys.modules, "pynvml", module)
    environ = {"NCCL_ALGO": "Ring", "CUDA_VERSION": "13.0.0", "TRTKIT_IMAGE": f"x@sha256:{'b' * 64}"}
    found = fingerprint(gpu=True, environ=environ)
    identity = found.identity
    assert identity.hardware == "2 × NVIDIA H100 80GB HBM3"
    assert identity.gpus == (Gpu(name="NVIDIA H100 80GB HBM3", memory_mib=81559, mig=None),) * 2
    assert (identity.driver, identity.container) == ("580.159.04", f"sha256:{'b' * 64}")
    assert identity.variables == {"NCCL_ALGO": "Ring"}
    assert {"torch", "cuda", "nccl", "tensorrt-llm"} <= identity.software.keys()
    assert (identity.cpu_model, identity.cpu_cores, identity.memory_gib, identity.blas) == (None,) * 4
    assert found.context.cuda_driver == "13.0"
    assert found.context.host is not None
    assert [state.power_limit_w for state in found.context.gpus] == [700.0, 700.0]
    assert found.hardware == "2 × NVIDIA H100 80GB HBM3, driver 580.159.04"
    assert Environment.model_validate_json(found.model_dump_json()) == found
    # another card of the same kind, at another power limit, is no other environment
    module.gpus[0]["UUID"], module.gpus[0]["EnforcedPowerLimit"] = "GPU-c", 500_000
    again = fingerprint(gpu=True, environ=environ)
    assert again.env_id == found.env_id
    assert again.context.gpus[0] != found.context.gpus[0]
    module.driver = "590.44.01"
    assert fingerprint(gpu=True, environ=environ).env_id != found.env_id


def test_neither_host_nor_card_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", StandIn([h100(UUID="GPU-1234")]))
    text = json.dumps(fingerprint(gpu=True, environ={"NCCL_HOSTID": platform.node()}).model_dump())
    assert platform.node() not in text
    assert "GPU-1234" not in text


def test_every_measured_part_exists() -> None:
    measured = fingerprint_module.MEASURED
    assert [part for part in measured if not (fingerprint_module.PACKAGE / part).exists()] == []
    assert "bench/workload" in measured


def test_times_are_utc() -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", utc_now())

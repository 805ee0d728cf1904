"""What the measurements are made on: a fingerprint without names of people or machines."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import toolkit
from toolkit.bench.environment.gpus import find_gpus
from toolkit.bench.environment.host import describe_host
from toolkit.bench.environment.software import describe_blas, git_commit, gpu_versions, source_digest
from toolkit.bench.environment.types import CPU, Context, Environment, Identity, identity_digest
from toolkit.bench.environment.variables import image_digest, overrides
from toolkit.engine.versions import versions
from toolkit.resources import triton_repo_dir

PACKAGE = Path(toolkit.__file__).parent
MEASURED = ("bench/load.py", "bench/runners", "bench/workload", "checkpoint", "engine", "models", "numerics", "serving")


def fingerprint(*, gpu: bool = False, environ: Mapping[str, str] = os.environ) -> Environment:
    """The hardware that is measured, this process's software and host.

    ``gpu``: the GPUs that CUDA may use are measured, not this machine's CPU. ``EngineError`` if there is none.
    """
    software = versions() | {"grpcio": metadata.version("grpcio")}
    source = source_digest([PACKAGE / part for part in MEASURED] + [triton_repo_dir()])
    system = f"{platform.system()} {platform.machine()}"
    host = describe_host()
    context = Context(
        kernel=platform.release(),
        hostname_sha256=hashlib.sha256(platform.node().encode()).hexdigest()[:12],
        git_commit=git_commit(PACKAGE.parent),
        first_seen=utc_now(),
        host=host,
    )
    if not gpu:
        identity = Identity(
            hardware=CPU,
            cpu_model=host.cpu_model,
            cpu_cores=host.cpu_cores,
            cpu_quota=host.cpu_quota,
            memory_gib=host.memory_gib,
            os=system,
            blas=describe_blas(),
            software=software,
            trtkit_source=source,
            container=image_digest(environ),
        )
        return Environment(env_id=identity_digest(identity), identity=identity, context=context)
    found = find_gpus(environ)
    identity = Identity(
        hardware=found.label,
        os=system,
        software=software | gpu_versions(environ),
        trtkit_source=source,
        gpus=found.identities,
        driver=found.driver,
        container=image_digest(environ),
        variables=overrides(environ),
    )
    context = context.model_copy(update={"gpus": found.states, "cuda_driver": found.cuda})
    return Environment(env_id=identity_digest(identity), identity=identity, context=context)


def utc_now() -> str:
    """The time as ISO 8601 in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

"""What a container checks before it loads anything: minutes later these would be a stack trace."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from toolkit.checkpoint.source import TOKENIZER
from toolkit.deploy.deployment import TMP
from toolkit.engine.bundle import MANIFEST, Bundle
from toolkit.errors import BundleError, DeployError
from toolkit.preflight import checks_gpu, checks_host, checks_software
from toolkit.preflight.demand import gpu_needs
from toolkit.preflight.finding import Finding
from toolkit.preflight.gather import gather
from toolkit.preflight.host import storage
from toolkit.preflight.machine import Machine
from toolkit.preflight.needs import CPU_SHM, GPU_SHM, Needs
from toolkit.recipe import Recipe

WRITTEN = ("HOME", "HF_HOME", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "TMPDIR")
"""Environment variables that name a folder which the server writes to."""
GROUP_SIZE = "LWS_GROUP_SIZE"
"""Nodes of one model, as a LeaderWorkerSet tells its pods."""


def open_mounted(folder: Path, identity: str | None = None) -> Bundle:
    """The bundle that is mounted at ``folder``.

    Raises ``DeployError`` where none is, where it lacks its tokenizer, or where it is not the one of ``identity``.
    """
    hint = f"Mount the folder that trtkit engine wrote at {folder}"
    if not (folder / MANIFEST).is_file():
        raise DeployError("no engine bundle is mounted here", where=str(folder), hint=hint)
    try:
        bundle = Bundle.open(folder)
    except BundleError as error:
        raise DeployError(error.what, where=str(folder), hint=hint) from None
    require_tokenizer(bundle)
    if identity is not None and bundle.manifest["identity"] != identity:
        what = f"this is bundle {bundle.manifest['identity'][:12]}, and the manifest was rendered for {identity[:12]}"
        raise DeployError(what, where=str(folder), hint="Mount that one, or render the manifest again: trtkit deploy")
    return bundle


def require_tokenizer(bundle: Bundle) -> None:
    """Raises ``DeployError`` for a bundle that was built without one."""
    if not (bundle.tokenizer_dir / TOKENIZER).is_file():
        hint = "Build it again with --set checkpoint.tokenizer=DIR"
        what = f"the bundle has no {TOKENIZER}, so text cannot be served"
        raise DeployError(what, where=str(bundle.folder), hint=hint)


def check(recipe: Recipe, bundle: Bundle) -> None:
    """Raises ``DeployError`` that names the first thing here which the bundle's target cannot work with."""
    needs = _needs(recipe, bundle)
    machine = gather(recipe, needs)
    for finding in (*judge(needs, machine), *unwritable(os.environ)):
        if finding.status == "fail":
            raise DeployError(finding.detail, where=finding.name, hint=finding.fix)


def judge(needs: Needs, machine: Machine) -> Iterator[Finding]:
    """The checks in the order in which their failure would be met."""
    if needs.gpu is not None:
        yield checks_software.release(needs.gpu, machine)
        yield checks_software.packages(machine)
        yield checks_gpu.gpu(needs.gpu, machine)
        yield checks_gpu.driver(needs.gpu, machine)
        yield checks_gpu.memory(needs.gpu, machine)
    yield checks_host.shm(needs, machine)
    yield checks_host.ports(machine)


def unwritable(environment: Mapping[str, str]) -> Iterator[Finding]:
    """A ``fail`` for each folder of ``WRITTEN`` that this user cannot write to."""
    for name in WRITTEN:
        folder = environment.get(name, TMP if name == "TMPDIR" else "")
        if folder and not storage(Path(folder)).writable:
            fix = f"Mount a volume there that uid {os.getuid()} can write to, or a tmpfs"
            yield Finding("cache", "fail", f"{name}={folder} takes no file", fix)


def _needs(recipe: Recipe, bundle: Bundle) -> Needs:
    """Nothing is planned: the plan was made when the bundle was built."""
    world = recipe.target.parallel.tp * recipe.target.parallel.pp
    gpu = gpu_needs(recipe, "RECIPE", weights=bundle.nbytes // world)
    if gpu is not None:
        nodes = int(os.environ.get(GROUP_SIZE, "1"))
        gpu = replace(gpu, count=world // nodes, image=gpu.triton_image or gpu.image)
    serve = recipe.serve
    return Needs(
        plan=Finding("bundle", "ok", str(bundle.folder)),
        output=bundle.folder,
        gpu=gpu,
        shm=GPU_SHM if gpu else CPU_SHM,
        ports={"grpc": serve.grpc_port, "http": serve.http_port, "metrics": serve.metrics_port},
    )

"""Fill a ``Machine`` with what one recipe's checks ask about."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path

from toolkit.bench.environment import nvidia_smi
from toolkit.bench.environment.devices import Nvidia
from toolkit.chat import vocabulary
from toolkit.checkpoint import hub
from toolkit.checkpoint.source import TOKENIZER
from toolkit.engine.bundle import CHECKPOINT, MANIFEST
from toolkit.errors import CheckpointError, ServerError, TrtkitError
from toolkit.preflight import host
from toolkit.preflight.known import load_known
from toolkit.preflight.loader import probe
from toolkit.preflight.machine import Machine, Part, Storage, Vocabulary
from toolkit.preflight.needs import Needs
from toolkit.recipe import Recipe
from toolkit.serving import ports, triton

TRTLLM = "tensorrt-llm"
CONTAINER_TRITON = Path("/opt/tritonserver/bin/tritonserver")
SHM = Path("/dev/shm")


def gather(recipe: Recipe, needs: Needs) -> Machine:
    """Look at this machine. Starts nvidia-smi and, for a loader probe, a Python that imports TensorRT-LLM."""
    known = load_known()
    packages = {name: version_of(name) for name in (TRTLLM, *(bad.package for bad in known.packages))}
    folder, unread = _cached(recipe)
    tokenizer = _tokenizer(recipe, folder)
    return Machine(
        python=sys.executable,
        packages=packages,
        nvidia=nvidia_smi.query() if needs.gpu else Nvidia(),
        visible=os.environ.get("CUDA_VISIBLE_DEVICES"),
        cuda_installed=os.environ.get("CUDA_VERSION"),
        shm=host.storage(SHM) if SHM.is_dir() else None,
        limits=host.limits(),
        output=host.storage(needs.output),
        has_bundle=host.has_file(needs.output / MANIFEST),
        cache=_cache() if needs.repo else None,
        cached=folder is not None,
        offline=_offline() if needs.repo else False,
        tokenizer=tokenizer,
        vocabulary=_vocabulary(tokenizer) if needs.harmony else None,
        ports=_ports(recipe.serve.host, needs),
        triton=container_triton() if needs.gpu else cpu_triton(),
        probes={feature.id: probe(feature) for feature in needs.features} if packages[TRTLLM] else {},
        unread=unread,
        host_memory=host.memory() if needs.gpu and needs.gpu.unified else None,
    )


def version_of(package: str) -> str | None:
    """The installed version, read without importing the package."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def cpu_triton() -> Part:
    """The Triton that a CPU bundle is served with: a container's, or that of the PyPI wheel."""
    try:
        found = triton.find()
        name = "Triton" if found.stub is None else f"nvidia-pytriton {version_of('nvidia-pytriton')}"
        return Part(f"{name} at {found.folder}")
    except TrtkitError as error:
        return Part(problem=f"{error.where}: {error.what}" if error.where else error.what, fix=error.hint)


def container_triton() -> Part:
    """The Triton of NVIDIA's containers."""
    found = shutil.which("tritonserver") or (str(CONTAINER_TRITON) if CONTAINER_TRITON.is_file() else None)
    return Part(found) if found else Part(problem="no tritonserver on PATH")


def _cached(recipe: Recipe) -> tuple[Path | None, Part | None]:
    """The checkpoint's folder, and why it is not known whether the cache has one."""
    section = recipe.checkpoint
    if section.repo is None:
        return section.path, None
    try:
        return hub.cached(section.repo, section.revision), None
    except CheckpointError as error:
        return None, Part(problem=f"{error.where}: {error.what}", fix=error.hint)
    except OSError as error:
        return None, Part(problem=f"{error.filename}: {error.strerror}")


def _cache() -> Storage:
    from huggingface_hub import constants

    return host.storage(Path(constants.HF_HUB_CACHE))


def _offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def _tokenizer(recipe: Recipe, checkpoint: Path | None) -> str | None:
    """The folder that serving would take the tokenizer from."""
    places = (recipe.checkpoint.tokenizer or checkpoint, recipe.engine.output / CHECKPOINT)
    return next((str(place) for place in places if place and host.has_file(place / TOKENIZER)), None)


def _vocabulary(tokenizer: str | None) -> Vocabulary:
    kept = vocabulary.cache_folder()
    found = str(kept) if vocabulary.is_whole(kept / vocabulary.O200K.name) else None
    holds = tokenizer if tokenizer is not None and _is_harmony(Path(tokenizer)) else None
    return replace(host.vocabulary(vocabulary.O200K, os.environ), kept=found, tokenizer=holds)


def _is_harmony(folder: Path) -> bool:
    try:
        return vocabulary.is_harmony(vocabulary.read_tokenizer(folder / TOKENIZER))
    except CheckpointError:
        return False


def _ports(address: str, needs: Needs) -> Part:
    try:
        ports.choose(ports.resolve(address), needs.ports)
    except ServerError as error:
        return Part(problem=error.what, fix=error.hint)
    fixed = ", ".join(f"{name} {port}" for name, port in needs.ports.items())
    return Part(f"{fixed} free on {address}" if fixed else "free ones are picked")

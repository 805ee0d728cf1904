"""``Deployment``: one recipe as a container needs it, as pure data. What renders manifests reads nothing else."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import toolkit
from toolkit.deploy.images import Base, base_for
from toolkit.errors import DeployError
from toolkit.preflight.needs import CPU_SHM, GIB, GPU_SHM
from toolkit.recipe import Recipe
from toolkit.trtllm import Gpu, load_targets

USER = 10001
PORTS: Mapping[str, int] = {"http": 8000, "grpc": 8001, "metrics": 8002}
"""Inside the container; Triton's own defaults."""
BUNDLE, CACHE, TMP = "/bundle", "/cache", "/tmp"
TMP_BYTES = GIB
CACHE_ENV: Mapping[str, str] = {
    "HOME": CACHE,
    "HF_HOME": f"{CACHE}/huggingface",
    "TORCHINDUCTOR_CACHE_DIR": f"{CACHE}/inductor",
    "TRITON_CACHE_DIR": f"{CACHE}/triton",
    "HF_HUB_OFFLINE": "1",
    "TMPDIR": TMP,
}
"""Every folder that the server writes to is one of these: the rest of the file system is read-only."""

RANK_BYTES = 8 * GIB
"""Assumed, not measured: host memory of one rank's process beside the weights that it reads."""
CPU_BYTES, CPU_GROWTH = GIB, 8
"""The CPU runtime holds FP4 weights as FP32, and about 1 GiB beside them."""
READ_BYTES_S, START_S = 200 << 20, 300
"""Assumed: the slowest storage that weights are read from, and what starting takes beside it."""
TOKENS_S = 20
"""Assumed: the slowest generation that a drain waits for."""
GRACE_S = (60, 600)
GPUS_PER_NODE = 8
SMALL_NODES: Mapping[str, int] = {"gb200": 4, "gb300": 4, "dgx-spark": 1}
"""GPUs of one host where it is not eight: a compute tray of NVL72, one GB10."""


@dataclass(frozen=True, slots=True)
class Built:
    """What is known of the engine bundle: its folder here, its bytes, its identity unless it is not built yet, and the
    environment that its tuned profile asks for.
    """

    folder: str
    nbytes: int
    identity: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Options:
    """What a user may choose. ``base`` replaces the lock's image; ``devices`` are GPU indices of the host."""

    tag: str | None = None
    base: str | None = None
    image: str | None = None
    devices: tuple[str, ...] = ()
    gpus_per_node: int | None = None


DEFAULTS = Options()


@dataclass(frozen=True, slots=True)
class Deployment:
    """``shm`` and ``memory`` are bytes a node, ``memory`` None without a limit; ``gpus`` are those of each node.

    ``load_s`` is how long loading may take, ``grace_s`` how long the server drains streams. ``notes`` say what is not
    sure.
    """

    name: str
    recipe: str
    runtime: Literal["cpu", "tensorrt-llm"]
    image: str
    base: Base
    bundle: str
    identity: str | None
    release: str | None
    gpu: str | None
    sm: int | None
    nodes: int
    gpus: int
    devices: tuple[str, ...]
    cpus: int
    shm: int
    memory: int | None
    model: str
    queue: int
    ports: Mapping[str, int]
    load_s: int
    grace_s: float
    env: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def stop_s(self) -> int:
        """Seconds from the stop signal to SIGKILL: the drain, a stuck unload, and the clean-up after it."""
        return math.ceil(self.grace_s) + 30

    @property
    def command(self) -> list[str]:
        """Arguments of the image's entry point, ``trtkit``."""
        served = {
            "serve.model_name": self.model,
            "serve.max_queue_size": self.queue,
            "serve.grace_s": f"{self.grace_s:g}",
        }
        overrides = [word for key, value in served.items() for word in ("--set", f"{key}={value}")]
        identity = ["--identity", self.identity] if self.identity else []
        return ["deploy", "run", BUNDLE, *overrides, *identity, "--timeout", str(self.load_s)]

    @property
    def health(self) -> list[str]:
        """The command that exits with 0 when a token was generated."""
        return ["trtkit", "deploy", "health", "--model", self.model]


def deployment(recipe: Recipe, built: Built, options: Options = DEFAULTS) -> Deployment:
    """``recipe`` as a container needs it.

    Raises ``DeployError`` for an image that does not fit, a layout that no number of whole nodes has, or an engine that
    the served model cannot run; ``PlanError`` for an unknown GPU.
    """
    target = recipe.target
    if target.backend == "tensorrt":
        hint = "Leave target.backend out: the PyTorch backend serves the same checkpoint"
        raise DeployError("the served model runs no engine of trtllm-build", where="target.backend", hint=hint)
    gpu = load_targets().gpu(target.gpu) if target.gpu is not None and target.runtime != "cpu" else None
    base = Base("custom", options.base) if options.base else base_for(target, options.tag)
    nodes, gpus = _nodes(recipe, gpu, options)
    shm = GPU_SHM * (1 + gpus) if gpu else 4 * CPU_SHM
    serve = recipe.serve
    return Deployment(
        name=dns_label(recipe.name),
        recipe=recipe.name,
        runtime=target.runtime,
        image=options.image or own_image(base, cpu=gpu is None),
        base=base,
        bundle=built.folder,
        identity=built.identity,
        release=target.release if gpu else None,
        gpu=gpu.name if gpu else None,
        sm=gpu.sm if gpu else None,
        nodes=nodes,
        gpus=gpus,
        devices=_devices(options.devices, gpus),
        cpus=4 * gpus if gpu else recipe.engine.threads + 1,
        shm=shm,
        memory=_memory(built.nbytes, gpu, gpus, shm),
        model=serve.model_name,
        queue=serve.max_queue_size,
        ports={name: getattr(serve, f"{name}_port") or port for name, port in PORTS.items()},
        load_s=math.ceil((START_S + built.nbytes / READ_BYTES_S) / 60) * 60,
        grace_s=_grace(recipe),
        env={**CACHE_ENV, **built.env},
        notes=(base.note,) if base.note else (),
    )


def own_image(base: Base, *, cpu: bool) -> str:
    """The name of trtkit's image on ``base``: ``trtkit:0.1.0-26.07``."""
    return f"trtkit:{toolkit.__version__}-{'cpu' if cpu else base.tag}"


def dns_label(name: str) -> str:
    """``name`` as Kubernetes takes it for any object (RFC 1123 label, at most 52 characters so that suffixes fit)."""
    return re.sub(r"[^a-z0-9-]+", "-", name.lower())[:52].strip("-")


def _nodes(recipe: Recipe, gpu: Gpu | None, options: Options) -> tuple[int, int]:
    """Nodes, and GPUs of each."""
    if gpu is None:
        return 1, 0
    world = recipe.target.parallel.tp * recipe.target.parallel.pp
    each = options.gpus_per_node or SMALL_NODES.get(gpu.name, GPUS_PER_NODE)
    if world <= each:
        return 1, world
    if world % each:
        raise DeployError(
            f"{world} GPUs are not a whole number of nodes with {each}",
            hint="Give the node's number: --gpus-per-node N",
        )
    return world // each, each


def _devices(wanted: tuple[str, ...], gpus: int) -> tuple[str, ...]:
    if wanted and len(wanted) != gpus:
        raise DeployError(f"--devices names {len(wanted)} GPU(s), and the parallel layout takes {gpus} a node")
    return wanted or tuple(str(index) for index in range(gpus))


def _memory(weights: int, gpu: Gpu | None, gpus: int, shm: int) -> int | None:
    """Shared memory counts in; where CPU and GPU share theirs, no limit can be told."""
    if gpu is None:
        return _whole(CPU_GROWTH * weights + CPU_BYTES + shm)
    return None if gpu.kind == "unified" else _whole(weights + RANK_BYTES * (gpus + 1) + shm)


def _whole(nbytes: int) -> int:
    return math.ceil(nbytes / GIB) * GIB


def _grace(recipe: Recipe) -> float:
    """The recipe's own, else as long as the longest request takes at ``TOKENS_S``."""
    if "grace_s" in recipe.serve.model_fields_set:
        return recipe.serve.grace_s
    return min(max(math.ceil(recipe.engine.max_seq_len / TOKENS_S), GRACE_S[0]), GRACE_S[1])

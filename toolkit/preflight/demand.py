"""From a recipe to what its target needs."""

from __future__ import annotations

from toolkit.bench.environment.version import newest, oldest
from toolkit.plan.types import Plan
from toolkit.preflight.known import Feature, load_known
from toolkit.preflight.needs import CPU_SHM, GPU_SHM, GpuNeeds, Needs
from toolkit.preflight.planned import ask
from toolkit.recipe import Recipe
from toolkit.trtllm import load_targets

HARMONY = "GptOssForCausalLM"


def needs_of(recipe: Recipe, named: str = "RECIPE") -> Needs:
    """Plan ``recipe``, which the user calls ``named``, and say what it needs.

    Raises ``PlanError`` for a release or a GPU that trtkit does not know.
    """
    planned = ask(recipe, named)
    plan = planned.plan
    weights = plan.memory.weights if plan and plan.memory else None
    gpu = gpu_needs(recipe, named, architecture=plan.architecture if plan else None, weights=weights)
    serve = recipe.serve
    ports = {"grpc": serve.grpc_port, "http": serve.http_port, "metrics": serve.metrics_port}
    return Needs(
        plan=planned.finding,
        output=recipe.engine.output,
        gpu=gpu,
        shm=GPU_SHM if gpu else CPU_SHM,
        output_bytes=plan.output_bytes if plan else None,
        repo=recipe.checkpoint.repo,
        fetch_bytes=planned.fetch_bytes,
        harmony=plan is not None and gpu is not None and plan.architecture == HARMONY,
        features=_features(plan) if plan and gpu else (),
        ports={name: port for name, port in ports.items() if port},
        named=named,
    )


def gpu_needs(
    recipe: Recipe, named: str, *, architecture: str | None = None, weights: int | None = None
) -> GpuNeeds | None:
    """What the target asks of GPUs and driver; None for the CPU runtime. ``weights``: bytes of the heaviest rank.

    Raises ``PlanError`` for a release or a GPU that trtkit does not know.
    """
    target, parallel = recipe.target, recipe.target.parallel
    if target.runtime == "cpu":
        return None
    assert target.release is not None
    assert target.gpu is not None
    targets = load_targets()
    gpu, images = targets.gpu(target.gpu), targets.images_for(targets.release(target.release).name)
    own = [image.reference for image in images if image.kind == "release"]
    triton = [image.reference for image in images if image.kind == "triton"]
    return GpuNeeds(
        release=target.release,
        gpu=target.gpu,
        sm=gpu.sm,
        count=parallel.tp * parallel.pp,
        known={name: known.sm for name, known in targets.gpus.items()},
        releases=tuple(targets.releases),
        image=own[0],
        triton_image=triton[0] if triton else None,
        memory=gpu.memory_bytes,
        driver=newest((gpu.driver_min, load_known().driver_for(architecture) if architecture else None)),
        shipped=oldest(image.driver for image in images),
        weights=weights,
        unified=gpu.kind == "unified",
        named=named,
    )


def _features(plan: Plan) -> tuple[Feature, ...]:
    formats = set(plan.formats.values())
    return tuple(
        feature for format in sorted(formats) for feature in load_known().features_for(plan.architecture, format)
    )

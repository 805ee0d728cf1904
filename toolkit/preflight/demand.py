"""From a recipe to what its target needs."""

from __future__ import annotations

from toolkit.errors import CheckpointError, PlanError
from toolkit.plan.source import download_of, plan_recipe
from toolkit.plan.types import Plan
from toolkit.preflight.finding import Finding, Status
from toolkit.preflight.known import Feature, load_known
from toolkit.preflight.needs import CPU_SHM, GPU_SHM, GpuNeeds, Needs
from toolkit.preflight.version import newest, oldest
from toolkit.recipe import Recipe
from toolkit.trtllm import load_targets

HARMONY = "GptOssForCausalLM"


def needs_of(recipe: Recipe) -> Needs:
    """Plan ``recipe`` and say what it needs. Raises ``PlanError`` for a release or a GPU that trtkit does not know."""
    plan, finding = _plan(recipe)
    gpu = _gpu(recipe, plan)
    serve = recipe.serve
    ports = {"grpc": serve.grpc_port, "http": serve.http_port, "metrics": serve.metrics_port}
    return Needs(
        plan=finding,
        output=recipe.engine.output,
        gpu=gpu,
        shm=GPU_SHM if gpu else CPU_SHM,
        output_bytes=plan.output_bytes if plan else None,
        repo=recipe.checkpoint.repo,
        fetch_bytes=_to_fetch(recipe),
        harmony=plan is not None and gpu is not None and plan.architecture == HARMONY,
        features=_features(plan) if plan and gpu else (),
        ports={name: port for name, port in ports.items() if port},
    )


def _gpu(recipe: Recipe, plan: Plan | None) -> GpuNeeds | None:
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
        driver=newest((gpu.driver_min, load_known().driver_for(plan.architecture) if plan else None)),
        shipped=oldest(image.driver for image in images),
        weights=plan.memory.weights if plan and plan.memory else None,
    )


def _plan(recipe: Recipe) -> tuple[Plan | None, Finding]:
    """The plan, unless the target refuses or the checkpoint cannot be read; what is not downloaded is no failure."""
    try:
        plan = plan_recipe(recipe)
    except OSError as error:  # a token or a cache of the Hub's that cannot be read
        status: Status = "skip" if recipe.checkpoint.repo is not None else "fail"
        return None, Finding("plan", status, f"{error.filename}: {error.strerror}")
    except (CheckpointError, PlanError) as error:
        to_fetch = recipe.checkpoint.repo is not None and isinstance(error, CheckpointError)
        detail = f"{error.where}: {error.what}" if error.where else error.what
        return None, Finding("plan", "skip" if to_fetch else "fail", detail, error.hint)
    if plan.refusals:
        return None, Finding("plan", "fail", plan.refusals[0].what, "Type: trtkit plan RECIPE, for the ways out")
    changes = {"loads": "loads the checkpoint as it is", "after-change": "loads the checkpoint after a change"}
    return plan, Finding("plan", "ok", f"the target {changes[plan.verdict]}")


def _features(plan: Plan) -> tuple[Feature, ...]:
    formats = set(plan.formats.values())
    return tuple(
        feature for format in sorted(formats) for feature in load_known().features_for(plan.architecture, format)
    )


def _to_fetch(recipe: Recipe) -> int | None:
    """Bytes of a download; None where nothing is to download, or the Hub does not say."""
    try:
        download = download_of(recipe)
    except (CheckpointError, OSError):
        return None
    return download.nbytes if download else None

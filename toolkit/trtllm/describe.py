"""``Targets`` as lines of text, and one of them with all its facts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from toolkit.trtllm.facts import Fact
from toolkit.trtllm.gpus import Gpu
from toolkit.trtllm.images import Image
from toolkit.trtllm.kernels import Kernel
from toolkit.trtllm.releases import Release, spans
from toolkit.trtllm.targets import Targets

Named = Gpu | Release | Image | Kernel | Fact


def lines(targets: Targets) -> Iterator[str]:
    yield "Releases"
    yield from _table(
        ("", "gpt-oss", "NVFP4 gpt-oss", "trtllm-build", "ModelOpt's JSON read", "MoE default"),
        [
            (
                spans(era.releases),
                _yes(era.gpt_oss),
                era.gpt_oss_nvfp4,
                era.trtllm_build,
                _json_read(era.inline_quant_config),
                era.moe_default,
            )
            for era in targets.eras
        ],
    )
    yield "\nGPUs"
    yield from _table(
        ("", "SM", "memory", "kind", "driver"),
        [(gpu.name, str(gpu.sm), _gib(gpu), gpu.kind, _driver(gpu)) for gpu in targets.gpus.values()],
    )
    yield "\nKernels"
    yield from _kernels(targets.kernels)
    yield "\nTriton images"
    yield from _images(image for image in targets.images if image.kind == "triton")
    yield f"\nFacts as of {targets.checked}. One with its sources: trtkit targets NAME"


def lines_of(targets: Targets, named: Named) -> Iterator[str]:
    """One target with what else is known about it, every fact with its source."""
    if isinstance(named, Gpu):
        fields = {"SM": str(named.sm), "memory": f"{_gib(named)} ({named.memory_bytes} bytes)", "kind": named.kind}
        yield f"{named.name}: {named.title}"
        yield from _fields({**fields, "driver": _driver(named)})
        yield "\nKernels"
        yield from _kernels(kernel for kernel in targets.kernels if named.sm in kernel.sm)
    elif isinstance(named, Release):
        yield f"TensorRT-LLM {named.name}: {named.title}"
        yield from _fields(_release_fields(named))
        yield "\nImages"
        yield from _images(targets.images_for(named.name))
    elif isinstance(named, Image):
        yield named.reference
        yield from _fields({"TensorRT-LLM": named.release, "CUDA": named.cuda, "driver": named.driver})
        yield from _fields({"torch": named.torch, "size": _size(named)})
    elif isinstance(named, Kernel):
        yield from _kernels([named])
        yield from _fields({"opt-in": named.opt_in})
    if not isinstance(named, Fact):
        yield "\nFacts"
    for fact in _facts(named):
        yield from fact_lines(fact)


def document_of(targets: Targets, named: Named | None) -> dict[str, Any]:
    """The same as JSON: everything, or one target with what belongs to it."""
    document: dict[str, Any] = {"checked": targets.checked, **(named or targets).model_dump(mode="json")}
    if isinstance(named, Gpu):
        document["kernels"] = [k.model_dump(mode="json") for k in targets.kernels if named.sm in k.sm]
    elif isinstance(named, Release):
        document["images"] = [image.model_dump(mode="json") for image in targets.images_for(named.name)]
    return document


def fact_lines(fact: Fact) -> Iterator[str]:
    yield f"  {fact.id} ({fact.status}, {fact.checked})"
    yield f"    {fact.statement}"
    yield f"    source: {fact.source}"


def _facts(named: Named) -> Iterable[Fact]:
    if isinstance(named, Gpu | Release):
        return named.facts.values()
    return [named if isinstance(named, Fact) else named.fact]


def _release_fields(release: Release) -> dict[str, str | None]:
    return {
        "gpt-oss": _yes(release.gpt_oss),
        "NVFP4 gpt-oss": release.gpt_oss_nvfp4,
        "TensorRT backend": _yes(release.tensorrt_backend),
        "trtllm-build": release.trtllm_build,
        "JSON read": _json_read(release.inline_quant_config),
        "MoE default": release.moe_default,
        "to make sure": release.confirm,
    }


def _kernels(kernels: Iterable[Kernel]) -> Iterator[str]:
    yield from _table(
        ("", "weights", "backend", "algorithm", "SM", "status"),
        [
            (
                kernel.fact.id,
                kernel.format or "any",
                kernel.backend,
                kernel.algo,
                ", ".join(map(str, kernel.sm)),
                _status(kernel),
            )
            for kernel in kernels
        ],
    )


def _status(kernel: Kernel) -> str:
    reports = " ".join(f"#{number}" for number in kernel.reports)
    parts = [f"{kernel.status} {reports}".strip()]
    if kernel.since:
        parts.append(f"since {kernel.since}")
    if kernel.opt_in:
        parts.append("opt-in")
    return ", ".join(parts)


def _images(images: Iterable[Image]) -> Iterator[str]:
    yield from _table(
        ("", "TensorRT-LLM", "CUDA", "driver", "size"),
        [(image.tag, image.release, image.cuda or "-", image.driver or "-", _size(image) or "-") for image in images],
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, *rows):
        yield ("  " + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))).rstrip()


def _fields(fields: dict[str, str | None]) -> Iterator[str]:
    for name, value in fields.items():
        if value is not None:
            yield f"  {name:<16}  {value}"


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _json_read(inline: bool) -> str:
    return "hf_quant_config.json" + (", else config.json" if inline else "")


def _gib(gpu: Gpu) -> str:
    return f"{gpu.memory_bytes / 2**30:.1f} GiB"


def _driver(gpu: Gpu) -> str:
    return f"{gpu.driver_min} or later" if gpu.driver_min else "not known"


def _size(image: Image) -> str | None:
    return f"{image.size_gb:.2f} GB" if image.size_gb is not None else None

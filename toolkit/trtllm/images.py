"""Container images with TensorRT-LLM in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from toolkit.trtllm.facts import Fact, Record


class Image(Record):
    """``tag`` is what a user types; ``reference`` what Docker pulls. ``cuda`` and ``driver`` are those inside.

    ``size_gb``: decimal GB as its source lists it. None: not stated by any source read.
    """

    tag: str
    reference: str
    kind: Literal["triton", "release"]
    release: str
    cuda: str | None = None
    driver: str | None = None
    torch: str | None = None
    size_gb: float | None = None
    fact: Fact


def parse_images(data: Mapping[str, Any], releases: Iterable[str]) -> tuple[Image, ...]:
    """Triton's images as listed, newest first, and one image of TensorRT-LLM itself a release, newest first."""
    triton = [_triton(tag, row, data) for tag, row in data["triton"]["tags"].items()]
    return (*triton, *(_release(name, data) for name in reversed(list(releases))))


def _triton(tag: str, row: Mapping[str, Any], data: Mapping[str, Any]) -> Image:
    group = data["triton"]
    fact = {
        "id": f"triton-{tag}",
        "statement": f"Triton {tag} ships TensorRT-LLM {row['release']}.",
        "source": group["source"],
        "checked": data["checked"],
        "status": "verified",
    }
    reference = group["reference"].format(tag=tag)
    return Image.model_validate({"tag": tag, "reference": reference, "kind": "triton", **row, "fact": fact})


def _release(name: str, data: Mapping[str, Any]) -> Image:
    group = data["release"]
    row = dict(group["known"].get(name, {}))
    fact = {
        "id": f"release-image-{name}",
        "checked": data["checked"],
        **group["default"],
        **row.pop("fact", {}),
    }
    reference = group["reference"].format(release=name)
    fields = {"tag": f"release:{name}", "reference": reference, "kind": "release", "release": name, **row}
    return Image.model_validate({**fields, "fact": fact})

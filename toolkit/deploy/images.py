"""The base images of trtkit's own, from ``data/images.lock.yaml``: the one place that pins them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field

from toolkit.errors import DeployError
from toolkit.recipe import TargetSection
from toolkit.trtllm.near import nearest

SKOPEO = "skopeo inspect --format '{{.Digest}}' docker://"


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Locked(_Record):
    """``release`` is that of TensorRT-LLM inside, None for none; ``digest`` None until it was read."""

    release: str | None
    digest: Annotated[str, Field(pattern="^sha256:[0-9a-f]{64}$")] | None


class Images(_Record):
    """One kind of image by tag, newest first."""

    reference: str
    tags: Mapping[str, Locked]


class Lock(_Record):
    triton: Images
    python: Images


@dataclass(frozen=True, slots=True)
class Base:
    """An image to build on. ``note`` says what is not sure about it."""

    tag: str
    reference: str
    note: str | None = None


@cache
def load_lock() -> Lock:
    return Lock.model_validate(
        yaml.safe_load((files("toolkit.deploy") / "data" / "images.lock.yaml").read_text("utf-8"))
    )


def base_for(target: TargetSection, tag: str | None = None) -> Base:
    """The image for ``target``: ``tag``, or the newest with its release.

    Raises ``DeployError`` for a tag that is not in the lock, one with another release, and a release that no tag has.
    """
    if target.runtime == "cpu":
        return _python(tag)
    images, release = load_lock().triton, str(target.release)
    fitting = [name for name, locked in images.tags.items() if locked.release == release]
    if tag is None and not fitting:
        known = ", ".join(dict.fromkeys(str(locked.release) for locked in images.tags.values()))
        raise DeployError(
            f"no Triton image in the lock has TensorRT-LLM {release}",
            where="target.release",
            hint=f"The lock has {known}. Set one of these, or name an image that has both with --base IMAGE",
        )
    chosen = _known(images, tag or fitting[0], fitting)
    found = images.tags[chosen].release
    if found != release:
        hint = f"Choose {_any_of(fitting)}, or build for it: --set target.release={found}"
        raise DeployError(f"image tag {chosen} has TensorRT-LLM {found}, and the recipe is for {release}", hint=hint)
    return _base(images, chosen)


def _python(tag: str | None) -> Base:
    images = load_lock().python
    return _base(images, _known(images, tag or next(iter(images.tags)), list(images.tags)))


def _known(images: Images, tag: str, fitting: list[str]) -> str:
    if tag in images.tags:
        return tag
    near = nearest(tag, images.tags)
    meant = f"Did you mean {near}? " if near else ""
    raise DeployError(f"image tag {tag!r} is not in the lock", hint=f"{meant}For this target: {_any_of(fitting)}")


def _any_of(tags: list[str]) -> str:
    return ", ".join(tags) or "none, so name an image with --base IMAGE"


def _base(images: Images, tag: str) -> Base:
    reference, digest = images.reference.format(tag=tag), images.tags[tag].digest
    if digest is not None:
        return Base(tag, f"{reference}@{digest}")
    return Base(
        tag, reference, f"{reference} is not pinned: the lock has no digest of it. Read it: {SKOPEO}{reference}"
    )

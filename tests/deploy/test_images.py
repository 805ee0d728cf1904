from __future__ import annotations

import pytest

from tests.deploy.made_up import recipe
from toolkit.deploy import images
from toolkit.deploy.images import Base, Images, Lock, Locked, base_for, load_lock
from toolkit.errors import DeployError
from toolkit.trtllm import load_targets

DIGEST = "sha256:" + "0123456789abcdef" * 4
TRITON = "nvcr.io/nvidia/tritonserver:{}-trtllm-python-py3"


def test_the_lock_and_the_release_table_agree() -> None:
    lock = load_lock().triton
    known = {image.tag: (image.reference, image.release) for image in load_targets().images if image.kind == "triton"}
    locked = {tag: (lock.reference.format(tag=tag), entry.release) for tag, entry in lock.tags.items()}
    assert locked == known
    assert list(locked) == sorted(locked, reverse=True)


@pytest.mark.parametrize(("release", "tag"), [("1.2.1", "26.07"), ("1.2.0", "26.03"), ("1.1.0", "26.02")])
def test_the_newest_tag_with_the_release(release: str, tag: str) -> None:
    found = base_for(recipe("gpt-oss-20b/b200-latency", f"target.release={release}").target)
    assert (found.tag, found.reference) == (tag, TRITON.format(tag))


def test_the_cpu_runtime_is_built_on_python() -> None:
    found = base_for(recipe("tiny-gpt-oss/cpu").target)
    assert found.reference == "docker.io/library/python:3.12-slim-bookworm"


@pytest.mark.parametrize(
    ("digest", "expected"),
    [
        (DIGEST, Base("26.07", f"{TRITON.format('26.07')}@{DIGEST}")),
        (
            None,
            Base(
                "26.07",
                TRITON.format("26.07"),
                f"{TRITON.format('26.07')} is not pinned: the lock has no digest of it. Read it: "
                f"skopeo inspect --format '{{{{.Digest}}}}' docker://{TRITON.format('26.07')}",
            ),
        ),
    ],
)
def test_a_digest_pins_the_tag(monkeypatch: pytest.MonkeyPatch, digest: str | None, expected: Base) -> None:
    triton = Images(reference=TRITON.format("{tag}"), tags={"26.07": Locked(release="1.2.1", digest=digest)})
    monkeypatch.setattr(images, "load_lock", lambda: Lock(triton=triton, python=triton))
    assert base_for(recipe().target) == expected


@pytest.mark.parametrize(
    ("name", "tag", "expected"),
    [
        (
            "gpt-oss-120b/b200",
            "26.7",
            "image tag '26.7' is not in the lock. Did you mean 26.07? For this target: 26.07, 26.06, 26.05, 26.04",
        ),
        (
            "gpt-oss-120b/b200",
            "latest",
            "image tag 'latest' is not in the lock. For this target: 26.07, 26.06, 26.05, 26.04",
        ),
        (
            "tiny-gpt-oss/cpu",
            "3.12-slim-bookwurm",
            "image tag '3.12-slim-bookwurm' is not in the lock. Did you mean 3.12-slim-bookworm? "
            "For this target: 3.12-slim-bookworm",
        ),
        (
            "gpt-oss-120b/b200",
            "25.12",
            "image tag 25.12 has TensorRT-LLM 1.1.0, and the recipe is for 1.2.1. "
            "Choose 26.07, 26.06, 26.05, 26.04, or build for it: --set target.release=1.1.0",
        ),
        (
            "gpt-oss-20b/dgx-spark",
            None,
            "target.release: no Triton image in the lock has TensorRT-LLM 1.3.0rc20. The lock has 1.2.1, 1.2.0, 1.1.0, "
            "1.0.3.2510, 1.0.0, 0.21.0. Set one of these, or name an image that has both with --base IMAGE",
        ),
        (
            "gpt-oss-20b/dgx-spark",
            "26.08",
            "image tag '26.08' is not in the lock. Did you mean 26.07? "
            "For this target: none, so name an image with --base IMAGE",
        ),
    ],
)
def test_images_that_do_not_fit(name: str, tag: str | None, expected: str) -> None:
    with pytest.raises(DeployError) as caught:
        base_for(recipe(name).target, tag)
    assert str(caught.value) == expected

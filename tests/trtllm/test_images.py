from __future__ import annotations

from toolkit.trtllm import load_targets


def test_a_triton_image() -> None:
    (image,) = [image for image in load_targets().images if image.tag == "26.03"]
    assert image.model_dump(exclude={"fact"}) == {
        "tag": "26.03",
        "reference": "nvcr.io/nvidia/tritonserver:26.03-trtllm-python-py3",
        "kind": "triton",
        "release": "1.2.0",
        "cuda": "13.1.0.036",
        "driver": "590.44.01",
        "torch": "2.10.0a0",
        "size_gb": 14.18,
    }
    assert image.fact.id == "triton-26.03"


def test_the_images_of_a_release_newest_first() -> None:
    targets = load_targets()
    assert {
        name: [image.tag for image in targets.images_for(name)] for name in targets.releases if "rc" not in name
    } == {
        "1.0.0": ["25.10", "25.09", "release:1.0.0"],
        "1.1.0": ["26.02", "26.01", "25.12", "release:1.1.0"],
        "1.2.0": ["26.03", "release:1.2.0"],
        "1.2.1": ["26.07", "26.06", "26.05", "26.04", "release:1.2.1"],
    }


def test_a_candidate_has_no_triton_image() -> None:
    targets = load_targets()
    for name in targets.releases:
        kinds = {image.kind for image in targets.images_for(name)}
        assert kinds == ({"release"} if "rc" in name else {"release", "triton"})


def test_what_is_known_of_a_release_image() -> None:
    image = load_targets().images_for("1.3.0rc22")[0]
    assert (image.reference, image.cuda, image.driver) == (
        "nvcr.io/nvidia/tensorrt-llm/release:1.3.0rc22",
        "13.2",
        "595.58.03",
    )
    assert (image.fact.status, image.fact.source) == ("verified", "#17052")


def test_an_image_that_nobody_looked_up_is_inferred() -> None:
    image = load_targets().images_for("1.3.0rc5")[0]
    assert (image.cuda, image.size_gb, image.fact.status) == (None, None, "inferred")

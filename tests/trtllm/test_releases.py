from __future__ import annotations

import pytest
from pydantic import ValidationError

from toolkit.errors import PlanError
from toolkit.trtllm import load_targets
from toolkit.trtllm.releases import Era, parse_eras, releases_of, spans

CANDIDATES = [*(f"1.3.0rc{n}" for n in range(30)), "1.4.0rc0", "1.4.0rc1"]
KEYS = {"gpt-oss", "gpt-oss-nvfp4", "tensorrt-backend", "quant-config", "moe-default"}


def test_every_release_is_known_in_order() -> None:
    targets = load_targets()
    names = ["1.0.0", "1.1.0", "1.2.0", "1.2.1", *CANDIDATES]
    assert list(targets.releases) == names
    assert [targets.release(name).name for name in names] == names


@pytest.mark.parametrize(
    ("name", "era", "decided"),
    [
        ("1.0.0", "1.0", (False, "no", True, "legacy", False, "CUTLASS")),
        ("1.1.0", "1.1", (True, "no", True, "legacy", False, "CUTLASS")),
        ("1.2.0", "1.2", (True, "unverified", True, "legacy", False, "CUTLASS")),
        ("1.2.1", "1.2", (True, "unverified", True, "legacy", False, "CUTLASS")),
        ("1.3.0rc1", "1.3-first", (True, "expected", True, "deprecated", False, "CUTLASS")),
        ("1.3.0rc2", "1.3-before-removal", (True, "expected", True, "deprecated", False, "AUTO")),
        ("1.3.0rc20", "1.3-before-removal", (True, "expected", True, "deprecated", False, "AUTO")),
        ("1.3.0rc21", "1.3-after-removal", (True, "expected", False, "removed", True, "AUTO")),
        ("1.3.0rc29", "1.3-after-removal", (True, "expected", False, "removed", True, "AUTO")),
        ("1.4.0rc1", "1.4", (True, "expected", False, "removed", True, "AUTO")),
    ],
)
def test_what_a_release_accepts(name: str, era: str, decided: tuple[object, ...]) -> None:
    release = load_targets().release(name)
    assert release.era == era
    assert decided == (
        release.gpt_oss,
        release.gpt_oss_nvfp4,
        release.tensorrt_backend,
        release.trtllm_build,
        release.inline_quant_config,
        release.moe_default,
    )


def test_every_decision_has_its_fact() -> None:
    assert all(set(release.facts) == KEYS for release in load_targets().releases.values())


def test_what_the_date_of_the_merge_does_not_settle_comes_with_a_command() -> None:
    for release in load_targets().releases.values():
        asked = release.gpt_oss_nvfp4 in ("expected", "unverified")
        assert (release.confirm is not None and "load_nvfp4_weights" in release.confirm) == asked
        assert not asked or release.fact("gpt-oss-nvfp4").status in ("inferred", "unverified")


def test_the_source_that_decides_about_nvfp4() -> None:
    targets = load_targets()
    assert targets.release("1.0.0").source == targets.release("1.0.0").fact("gpt-oss").source
    assert targets.release("1.1.0").source.startswith("#8956; ")


def test_what_the_loader_builds_in_bf16() -> None:
    assert load_targets().gpt_oss_nvfp4.exclude_modules(2) == (
        "model.layers.0.self_attn*",
        "model.layers.0.mlp.router",
        "model.layers.1.self_attn*",
        "model.layers.1.mlp.router",
        "model.embed_tokens",
        "lm_head",
    )


@pytest.mark.parametrize("name", ["1.2", "1.2.2", "1.1.0rc5", "1.3.0"])
def test_an_unknown_release_gets_the_list_and_no_guess(name: str) -> None:
    with pytest.raises(PlanError) as caught:
        load_targets().release(name)
    known = "Known: 1.0.0, 1.1.0, 1.2.0, 1.2.1, 1.3.0rc0 to rc29, 1.4.0rc0, 1.4.0rc1"
    assert str(caught.value) == f"target.release: unknown TensorRT-LLM release {name!r}. {known}"


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([], ""),
        (["1.0.0", "1.1.0"], "1.0.0, 1.1.0"),
        (["1.3.0rc8", "1.3.0rc9", "1.3.0rc10"], "1.3.0rc8 to rc10"),
        (["1.3.0rc1", "1.3.0rc2", "1.3.0rc4", "1.4.0rc5"], "1.3.0rc1, 1.3.0rc2, 1.3.0rc4, 1.4.0rc5"),
    ],
)
def test_spans(names: list[str], text: str) -> None:
    assert spans(names) == text


def test_a_misspelt_key_of_an_era_is_refused() -> None:
    (era, *_) = load_targets().eras
    with pytest.raises(ValidationError, match="gpt_os"):
        Era.model_validate({**era.model_dump(), "gpt_os": True})


def test_a_fact_takes_the_date_of_its_file_unless_it_has_its_own() -> None:
    (era, *_) = load_targets().eras
    entry = era.model_dump(exclude={"name", "facts"})
    fact = {"statement": "s", "source": "#1", "status": "verified"}
    facts = {"gpt-oss": fact, "moe-default": {**fact, "checked": "2027-01-02"}}
    (parsed,) = parse_eras({"checked": "2026-01-01", "eras": {"9": {**entry, "facts": facts}}})
    assert {key: (fact.id, fact.checked) for key, fact in releases_of([parsed])["1.0.0"].facts.items()} == {
        "gpt-oss": ("trtllm-9-gpt-oss", "2026-01-01"),
        "moe-default": ("trtllm-9-moe-default", "2027-01-02"),
    }

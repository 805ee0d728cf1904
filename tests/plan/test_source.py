"""From a recipe to an opened checkpoint and its plan: from the disk, the cache, the Hub, or predicted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants

from tests.checkpoint.hub_stand_in import HubStandIn, serve
from tests.helpers import write_checkpoint
from tests.inspection.variants import GPT_OSS, Variant, made
from tests.plan.cases import B200, GPT_OSS_120B_NVFP4, census_of, cpu_recipe, published
from toolkit.checkpoint import hub as hub_room
from toolkit.checkpoint.census import take_census
from toolkit.checkpoint.remote import FIRST_RANGE
from toolkit.errors import CheckpointError, PlanError
from toolkit.models.layout import Layout
from toolkit.plan import Plan, make_plan
from toolkit.plan.source import Download, download_of, open_planned, open_source, plan_recipe
from toolkit.recipe import Recipe

REPO = "owner/name"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sample: Path) -> Iterator[HubStandIn]:
    """A Hub that has the sample, and an empty cache."""
    with serve(monkeypatch, tmp_path / "cache") as stand_in:
        stand_in.add(REPO, sample)
        yield stand_in


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Hub cache with the published repository at main; returns the snapshot's folder, which is still missing."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    folder = tmp_path / "models--Firworks--gpt-oss-120b-nvfp4"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0" * 40)
    return folder / "snapshots" / ("0" * 40)


def from_hub(*overrides: str) -> Recipe:
    return cpu_recipe(*B200, f"checkpoint.repo={REPO}", *overrides)


def fetched_files(folder: Path) -> dict[str, int]:
    """What a download has of a repository: JSON, weights and chat template of its top folder."""
    return {
        path.name: path.stat().st_size
        for path in folder.iterdir()
        if path.suffix in (".json", ".safetensors", ".jinja")
    }


def headers(folder: Path) -> Counter[str]:
    """What planning reads of it, in bytes: three JSON files, and the beginning of each shard."""
    found = Counter({path.name: min(FIRST_RANGE, path.stat().st_size) for path in folder.glob("*.safetensors")})
    names = ("config.json", "hf_quant_config.json", "model.safetensors.index.json")
    return found + Counter({name: (folder / name).stat().st_size for name in names})


def whole_and_headers(folder: Path) -> Counter[str]:
    """What opening transfers: the plan comes first."""
    return headers(folder) + Counter(fetched_files(folder))


def test_a_local_checkpoint_is_opened_and_planned_in_one_call(sample: Path) -> None:
    source, plan = open_planned(cpu_recipe())
    with source:
        assert source.folder == sample
        assert plan == make_plan(cpu_recipe(), take_census(source)) == plan_recipe(cpu_recipe())
    assert download_of(cpu_recipe()) is None


def test_the_tokenizer_folder_is_looked_into(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "notes.txt").write_text("")
    source, plan = open_planned(cpu_recipe(f"checkpoint.tokenizer={tmp_path}"))
    with source:
        assert [copy.file for copy in plan.copies if copy.origin == "tokenizer"] == ["tokenizer.json"]
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(PlanError, match=r"there is no tokenizer\.json"):
        plan_recipe(cpu_recipe(f"checkpoint.tokenizer={tmp_path}"))


def variants() -> tuple[Variant, Variant]:
    """The same small gpt-oss as ModelOpt 0.35 wrote it, and in BF16."""
    broken = made(GPT_OSS, Layout("nvfp4", "nvfp4"), quant_algo="NVFP4", version="0.35.1", exclude_modules=["lm_head"])
    for name in [name for name in broken.tensors if name.endswith("proj_weight_scale")]:
        experts, half, n = broken.tensors[name.removesuffix("_weight_scale")][1].shape
        broken.tensors[name] = ("F8_E4M3", np.full((experts, 2 * half, n // 16), 0x38, np.uint8))
    return broken, made(GPT_OSS, Layout("bf16", "bf16"))


def test_the_headers_of_the_bf16_source_are_read(tmp_path: Path) -> None:
    broken, source = (variant.write(tmp_path / str(index)) for index, variant in enumerate(variants()))
    base = (*B200, f"checkpoint.path={broken}")
    with pytest.raises(CheckpointError, match=r"Set checkpoint\.bf16 to the BF16 model that it was made from"):
        plan_recipe(cpu_recipe(*base))
    plan = plan_recipe(cpu_recipe(*base, f"checkpoint.bf16={source}"))
    assert plan.counts()["rescale"] == 4
    with pytest.raises(CheckpointError, match=r"no such folder"):
        plan_recipe(cpu_recipe(*base, f"checkpoint.bf16={tmp_path / 'none'}"))


def test_the_headers_of_the_calibrated_export_are_read(tmp_path: Path, sample: Path) -> None:
    stored = made(GPT_OSS, Layout("bf16", "mxfp4")).write(tmp_path / "mxfp4")
    calibrated = made(GPT_OSS, Layout("bf16", "nvfp4"), quant_algo="NVFP4").write(tmp_path / "calibrated")
    base = (*B200, f"checkpoint.path={stored}", "target.weights=nvfp4")
    assert plan_recipe(cpu_recipe(*base)).counts() == {"cast": 12, "fill": 4, "keep": 33}
    taken = plan_recipe(cpu_recipe(*base, f"checkpoint.input_scales={calibrated}"))
    assert taken.counts() == {"cast": 12, "take": 4, "keep": 33}
    with pytest.raises(CheckpointError, match=r"^checkpoint\.input_scales: tensor '.*input_scale' is missing\. Set"):
        plan_recipe(cpu_recipe(*base, f"checkpoint.input_scales={stored}"))


def test_a_whole_snapshot_is_taken_from_the_cache(sample: Path, cache: Path) -> None:
    cache.mkdir(parents=True)
    for path in sample.iterdir():
        (cache / path.name).symlink_to(path)
    recipe = cpu_recipe(f"checkpoint.repo={GPT_OSS_120B_NVFP4}")
    with open_source(recipe) as source:
        assert source.folder == cache
    assert not plan_recipe(recipe).predicted
    assert download_of(recipe) is None


def test_an_interrupted_download_is_resumed_by_building_and_predicted_by_planning(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checkpoint(cache, {}, weight_map={"a": "model-00001-of-00002.safetensors"})
    recipe = published(GPT_OSS_120B_NVFP4, "checkpoint.revision=main")
    assert plan_recipe(recipe).predicted
    asked: list[tuple[str, str | None]] = []

    def fetch(repo: str, revision: str | None) -> Path:
        asked.append((repo, revision))
        return cache

    monkeypatch.setattr(hub_room, "fetch", fetch)
    with pytest.raises(CheckpointError, match=r"the shard 'model-00001-of-00002[.]safetensors' is missing"):
        open_source(recipe)
    assert asked == [(GPT_OSS_120B_NVFP4, "main")]


def test_a_plan_from_the_hub_transfers_headers_only(hub: HubStandIn, sample: Path, tmp_path: Path) -> None:
    plan = plan_recipe(from_hub())
    assert plan == make_plan(from_hub(), replace(census_of(sample), where=f"hub:{REPO}"))
    assert not plan.predicted
    shards = {path.name: path.stat().st_size for path in sample.glob("*.safetensors")}
    json_files = ("config.json", "hf_quant_config.json", "model.safetensors.index.json")
    assert hub.sent == headers(sample)
    assert hub.sent.keys() == {*json_files, *shards}
    assert sum(hub.sent.values()) < sum(shards.values()) / 10
    assert not (tmp_path / "cache").exists()


def test_what_a_build_would_fetch_is_counted_to_the_byte(hub: HubStandIn, sample: Path) -> None:
    wanted = fetched_files(sample)
    assert download_of(from_hub()) == Download(f"hub:{REPO}", len(wanted), sum(wanted.values()), exact=True)
    assert not hub.sent
    assert download_of(from_hub("checkpoint.revision=main")) == Download(
        f"hub:{REPO}@main", len(wanted), sum(wanted.values()), exact=True
    )


def test_opening_fetches_everything_once(hub: HubStandIn, sample: Path) -> None:
    source, plan = open_planned(from_hub())
    with source:
        assert set(source.tensors) == set(census_of(sample).tensors)
    assert hub.sent == whole_and_headers(sample)
    assert not plan.predicted
    assert download_of(from_hub()) is None
    assert plan_recipe(from_hub()) == plan
    assert hub.sent == whole_and_headers(sample), "nothing more"


def test_what_the_target_cannot_load_is_not_downloaded(hub: HubStandIn, tmp_path: Path) -> None:
    with pytest.raises(PlanError) as caught:
        open_planned(from_hub("target.gpu=h100", "target.weights=nvfp4"))
    assert str(caught.value) == ("target: no MoE backend runs NVFP4 gpt-oss on h100 (SM90). Set target.weights=mxfp4")
    assert not (tmp_path / "cache").exists()


def test_a_partial_download_counts_what_is_missing(hub: HubStandIn, sample: Path, tmp_path: Path) -> None:
    source, _ = open_planned(from_hub())
    source.close()
    lost = "model-00002-of-00003.safetensors"
    (source.folder / lost).resolve().unlink()
    (source.folder / lost).unlink()
    size = (sample / lost).stat().st_size
    assert download_of(from_hub()) == Download(f"hub:{REPO}", 1, size, exact=True)


def test_a_known_repository_is_predicted_where_the_hub_does_not_answer() -> None:
    """The tests are offline."""
    recipe = published(GPT_OSS_120B_NVFP4)
    plan = plan_recipe(recipe)
    assert plan.predicted
    assert (plan.notes[0].what.startswith("No header was read: "), plan.notes[0].source) == (
        True,
        f"hub:{GPT_OSS_120B_NVFP4}",
    )
    download = download_of(recipe)
    assert download is not None
    assert download == Download(f"hub:{GPT_OSS_120B_NVFP4}", None, 67_458_445_632, exact=False)


def test_an_unknown_repository_is_one_line() -> None:
    for call in (plan_recipe, download_of):
        with pytest.raises(CheckpointError) as caught:
            call(published("nobody/nothing"))
        assert str(caught.value).startswith("hub:nobody/nothing: ")
        assert "\n" not in str(caught.value)


def test_what_the_hub_s_headers_say_is_not_replaced_by_a_prediction(
    hub: HubStandIn, sample: Path, tmp_path: Path
) -> None:
    """A published repository that has another model than is known is planned as what it is, or not at all."""
    hub.add(GPT_OSS_120B_NVFP4, sample)
    plan = plan_recipe(published(GPT_OSS_120B_NVFP4, "engine.max_seq_len=2048"))
    assert (plan.predicted, len(plan.shards)) == (False, 3)
    broken = variants()[0].write(tmp_path / "broken")
    hub.add(GPT_OSS_120B_NVFP4, broken)
    with pytest.raises(
        CheckpointError, match=r"^hub:Firworks/gpt-oss-120b-nvfp4/model\.safetensors, tensor '.*out: the"
    ):
        plan_recipe(published(GPT_OSS_120B_NVFP4, "engine.max_seq_len=2048"))


@pytest.mark.parametrize("fault", ["rate-limited", "down", "hang-up", "loop"])
def test_a_known_repository_is_predicted_where_the_hub_has_no_answer(hub: HubStandIn, sample: Path, fault: str) -> None:
    hub.add(GPT_OSS_120B_NVFP4, sample)
    hub.fault = fault  # type: ignore[assignment]
    assert plan_recipe(published(GPT_OSS_120B_NVFP4)).predicted
    download = download_of(published(GPT_OSS_120B_NVFP4))
    assert download is not None
    assert not download.exact


def test_what_the_hub_refuses_is_not_predicted(hub: HubStandIn, sample: Path) -> None:
    """A misspelt revision, a repository that is gone, one behind a licence."""
    hub.add(GPT_OSS_120B_NVFP4, sample)
    misspelt, gone = published(GPT_OSS_120B_NVFP4, "checkpoint.revision=mian"), published("openai/gpt-oss-120b")
    for call in (plan_recipe, download_of):
        with pytest.raises(CheckpointError, match=r"gpt-oss-120b-nvfp4@mian: there is no revision 'mian'"):
            call(misspelt)
        with pytest.raises(CheckpointError, match=r"^hub:openai/gpt-oss-120b: the Hub has no such repository"):
            call(gone)
    hub.fault = "gated"
    for call in (plan_recipe, download_of):
        with pytest.raises(CheckpointError, match=r"^hub:Firworks/gpt-oss-120b-nvfp4: the repository is gated"):
            call(published(GPT_OSS_120B_NVFP4))


def test_what_cannot_be_used_is_not_downloaded(hub: HubStandIn, tmp_path: Path) -> None:
    def check(plan: Plan) -> None:
        raise PlanError(f"no, it {plan.verdict}")

    with pytest.raises(PlanError, match="no, it after-change"):
        open_planned(from_hub(), check)
    assert not (tmp_path / "cache").exists()


def test_other_checkpoints_that_nothing_is_taken_from_are_noted(tmp_path: Path) -> None:
    def said(*overrides: str) -> list[str]:
        notes = plan_recipe(cpu_recipe(*B200, *overrides)).notes
        return [note.what for note in notes if note.what.startswith("checkpoint.")]

    broken, source = (variant.write(tmp_path / str(index)) for index, variant in enumerate(variants()))
    assert said(f"checkpoint.bf16={source}") == ["checkpoint.bf16 is not needed: no block scale has to be repaired"]
    assert said(f"checkpoint.input_scales={source}", "target.gpu=h200") == [
        "checkpoint.input_scales is not needed: the bundle has none"
    ]
    with pytest.raises(CheckpointError, match=r"Set checkpoint\.input_scales to the checkpoint of the same model"):
        said(f"checkpoint.input_scales={source}")
    assert said(f"checkpoint.path={broken}", f"checkpoint.bf16={source}") == []
    assert said() == []


@pytest.mark.parametrize("fault", ["gated", "private", "rate-limited", "down", "hang-up", "loop"])
def test_a_hub_that_refuses_is_one_line_for_an_unknown_repository(hub: HubStandIn, fault: str) -> None:
    hub.fault = fault  # type: ignore[assignment]
    with pytest.raises(CheckpointError) as caught:
        plan_recipe(from_hub())
    assert str(caught.value).startswith(f"hub:{REPO}")
    assert "\n" not in str(caught.value)


def test_scales_that_no_quantiser_writes_are_noted(tmp_path: Path) -> None:
    """The build stops at them; the plan of a checkpoint that is here says so before."""
    variant = made(GPT_OSS, Layout("nvfp4", "nvfp4"), quant_algo="NVFP4", group_size=16, exclude_modules=["lm_head"])
    name = "model.layers.0.mlp.experts.down_proj_weight_scale_2"
    variant.set_scalar(name, 0.0)
    folder = variant.write(tmp_path / "c")
    notes = [note for note in plan_recipe(cpu_recipe(*B200, f"checkpoint.path={folder}")).notes if name in note.source]
    assert len(notes) == 1

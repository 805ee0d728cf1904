from __future__ import annotations

import pytest

from toolkit.trtllm import load_targets
from toolkit.trtllm.catalog import File, Words, build_catalog, load_catalog
from toolkit.trtllm.span import order


def test_every_key_and_word_has_a_source() -> None:
    catalog = load_catalog()
    assert all(key.source for key in catalog.keys.values())
    assert all(words.source and words.allowed for words in catalog.values.values())
    assert all(renamed.source for renamed in catalog.renamed.values())


def test_a_section_knows_its_keys() -> None:
    section = "attention_dp_config."
    first = tuple(f"{section}{name}" for name in ("enable_balance", "timeout_iters", "batching_wait_iters"))
    assert load_catalog().siblings(section, "1.2.1") == first
    assert len(load_catalog().siblings(section, "1.3.0rc20")) == 12


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("batch_sizes", None),  # in two sections from 1.3 on
        ("free_gpu_memory_fraction", "kv_cache_config.free_gpu_memory_fraction"),
        ("max_batch_size", "max_batch_size"),
        ("nowhere", None),
    ],
)
def test_where_else_a_name_stands(name: str, path: str | None) -> None:
    assert load_catalog().elsewhere(name, "1.3.0rc0") == path


def test_words_have_releases() -> None:
    words = Words(source="s", allowed=("a", "b", "c"), added={"b": "1.2.0"}, removed={"c": "1.3.0rc21"})
    assert [words.of(release) for release in ("1.1.0", "1.3.0rc20", "1.3.0rc21")] == [
        ("a", "c"),
        ("a", "b", "c"),
        ("a", "b"),
    ]
    with pytest.raises(ValueError, match="not among the words"):
        Words(source="s", allowed=("a",), added={"b": "1.2.0"})


def test_the_releases_of_targets_are_ordered() -> None:
    names = list(load_targets().releases)
    assert sorted(names, key=order) == names


@pytest.mark.parametrize(
    "change",
    [
        {"open": ("nowhere",)},
        {"renamed": ({"old": "a", "new": "nowhere", "source": "s"},)},
        {"renamed": ({"old": "b", "new": "a", "source": "s"},)},
        {"values": {"nowhere": {"source": "s", "allowed": ("x",)}}},
        {"notes": ({"key": "nowhere", "text": "t"},)},
        {"groups": ({"source": "s", "keys": ("a", "a")},)},
        {"groups": ({"source": "s", "keys": ("a.b",)},)},
    ],
)
def test_a_file_that_contradicts_itself_is_refused(change: dict[str, object]) -> None:
    sound = {
        "checked": "2026-11-24",
        "texts": {},
        "groups": ({"source": "s", "keys": ("a", "b")},),
        "open": (),
        "renamed": (),
        "values": {},
        "notes": (),
    }
    build_catalog(File.model_validate(sound))
    with pytest.raises(ValueError, match="named and not listed, or listed twice"):
        build_catalog(File.model_validate({**sound, **change}))


@pytest.mark.parametrize(
    "group",
    [
        {"removed": "1.2.0"},
        {"instead": "Write b"},
        {"added": "1.3.0rc1", "removed": "1.2.0", "instead": "Write b"},
        {"added": "1.2.0", "removed": "1.2.0", "instead": "Write b"},
    ],
)
def test_a_group_of_impossible_releases_is_refused(group: dict[str, str]) -> None:
    file = {"checked": "", "texts": {}, "open": (), "renamed": (), "values": {}, "notes": ()}
    with pytest.raises(ValueError, match="1 validation error"):
        File.model_validate({**file, "groups": ({"source": "s", "keys": ("a",), **group},)})

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.building import run
from toolkit import recipe as recipes
from toolkit.engine.bundle import Bundle
from toolkit.errors import BundleError


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("{", "{path}/engine.json: the manifest is damaged. Delete {path} and type: trtkit engine RECIPE"),
        ("[]", "{path}/engine.json: the manifest is damaged. Delete {path} and type: trtkit engine RECIPE"),
        (
            '{"schema_version": 1, "files": {}}',
            "{path}/engine.json: the manifest is damaged. Delete {path} and type: trtkit engine RECIPE",
        ),
        (
            '{"schema_version": 9, "files": {}}',
            "{path}/engine.json: the manifest has schema 9, not 1. Delete {path} and type: trtkit engine RECIPE",
        ),
    ],
)
def test_manifests_that_cannot_be_read(tmp_path: Path, content: str, expected: str) -> None:
    (tmp_path / "engine.json").write_text(content)
    with pytest.raises(BundleError) as caught:
        Bundle.open(tmp_path)
    assert str(caught.value) == expected.format(path=tmp_path)


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("engine.max_seq_len=64", "engine.max_seq_len"),
        ("checkpoint.path=/elsewhere", "checkpoint.path"),
        ("target.release=1.2.1", "target.release"),
    ],
)
def test_a_recipe_opens_only_the_bundle_built_from_it(root: Path, tmp_path: Path, override: str, named: str) -> None:
    output = tmp_path / "out"
    run(root, output)
    path = root / "recipes/tiny-gpt-oss/cpu.yaml"
    assert Bundle.open_for(recipes.load(path, (f"engine.output={output}", "serve.grpc_port=1"))).folder == output
    with pytest.raises(BundleError) as caught:
        Bundle.open_for(recipes.load(path, (f"engine.output={output}", override)))
    hint = "Type: trtkit engine RECIPE, with the same --set"
    assert str(caught.value) == f"{output}: it was built with another {named} than the recipe's. {hint}"

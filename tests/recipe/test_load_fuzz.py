"""Whatever stands in a recipe file or after --set: a recipe, or one line that says what is wrong."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit import recipe
from toolkit.errors import RecipeError

SHIPPED = sorted((Path(__file__).parents[2] / "recipes").glob("*/*.yaml"))
PIECES = [
    ": ",
    "- ",
    "[",
    "]",
    "{",
    "}",
    "&a ",
    "*a",
    "!!str ",
    "? ",
    "| ",
    "'",
    '"',
    "#",
    "\t",
    "\0",
    "\x85",
    "<<",
    "~",
]
PIECES += ["1e999", ".nan", "9" * 400, "null", "\n", "  ", "---\n", "...\n", "%YAML 9.9\n", "@", "`", "😀", "\ufeff"]
WORDS = [
    "engine",
    "llm_args",
    "profile",
    "latency",
    "target",
    "parallel",
    "checkpoint",
    "path",
    "repo",
    "bench",
    "isl",
    "x",
]
VALUES = st.sampled_from([*PIECES, *WORDS]) | st.text(max_size=12)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "recipe.yaml"


def check(path: Path, overrides: Iterable[str] = ()) -> None:
    try:
        loaded = recipe.load(path, overrides)
    except RecipeError as error:
        said = str(error)
    else:
        said = ""
        path.write_text(loaded.absolute().to_yaml(), encoding="utf-8")
        assert recipe.load(path) == loaded.absolute(), "what is loaded can be saved and read again"
    assert "\n" not in said
    assert len(said) < 1000


@given(st.binary(max_size=200))
def test_any_bytes(file: Path, data: bytes) -> None:
    file.write_bytes(data)
    check(file)


@given(st.data(), st.sampled_from(SHIPPED))
def test_a_recipe_with_pieces_put_in_and_taken_out(file: Path, data: st.DataObject, shipped: Path) -> None:
    text = shipped.read_text(encoding="utf-8")
    for _ in range(data.draw(st.integers(1, 3))):
        begin = data.draw(st.integers(0, len(text)))
        end = min(len(text), begin + data.draw(st.sampled_from([0, 0, 1, 5, 40])))
        text = text[:begin] + data.draw(VALUES) + text[end:]
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    check(file)


@given(st.sampled_from(SHIPPED), st.lists(st.tuples(st.lists(st.sampled_from(WORDS), max_size=4), VALUES), max_size=3))
def test_any_overrides(file: Path, shipped: Path, drawn: list[tuple[list[str], str]]) -> None:
    file.write_bytes(shipped.read_bytes())
    check(file, [f"{'.'.join(keys)}={value}" for keys, value in drawn])

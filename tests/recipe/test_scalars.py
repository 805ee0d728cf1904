"""Scalars as YAML 1.2's core schema has them (yaml.org/spec/1.2.2, 10.3.2), and written so that they read back."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from toolkit.recipe.scalars import Dumper, NotARecipe, typed


def read(text: str) -> Any:
    node = yaml.compose(text, Loader=yaml.BaseLoader)
    assert isinstance(node, yaml.ScalarNode)
    return typed(node)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        ("-1", -1),
        ("+12", 12),
        ("010", 10),
        ("0o14", 12),
        ("0xC", 12),
        ("1234567", 1234567),
        ("'1234567'", "1234567"),
        ('"0.5"', "0.5"),
        ("0.5", 0.5),
        ("-.5", -0.5),
        ("1e-3", 0.001),
        ("12e03", 12000.0),
        ("2.", 2.0),
        ("true", True),
        ("False", False),
        ("'true'", "true"),
        ("yes", "yes"),
        ("off", "off"),
        ("null", None),
        ("~", None),
        ("'null'", "null"),
        ("''", ""),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("1.2.1", "1.2.1"),
        ("2026-11-24", "2026-11-24"),
        ("0b1", "0b1"),
        ("tRue", "tRue"),
        ("nan", "nan"),
        ("|\n  5", "5"),
    ],
)
def test_scalars_of_the_core_schema(text: str, value: Any) -> None:
    found = read(text)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("text", [".inf", "-.INF", ".nan", "1e400", "9" * 5000, "0." + "1" * 5000])
def test_numbers_beyond_all_arguments(text: str) -> None:
    with pytest.raises(NotARecipe, match="a number here is finite"):
        read(text)


LOOKALIKES = st.from_regex(r"[-+]?(0[ox])?[0-9.]{1,4}([eE][-+]?[0-9]{1,2})?", fullmatch=True)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["yes", "No", "~", "", "null", "1e3", "0o17", "010", "1_0", "1:30", "=", "<<", ".inf", ".nan"])
    | LOOKALIKES
    | st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "Zs")), max_size=8)
)


@given(SCALARS)
def test_what_is_written_reads_back_with_its_type(value: Any) -> None:
    node = yaml.compose(yaml.dump(value, Dumper=Dumper, allow_unicode=True), Loader=yaml.BaseLoader)
    assert isinstance(node, yaml.ScalarNode)
    found = typed(node)
    assert (found, type(found)) == (value, type(value))

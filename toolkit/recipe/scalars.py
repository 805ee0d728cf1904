"""Scalars with the types of YAML 1.2's core schema, read from PyYAML's nodes and written so that they read back.

PyYAML itself knows YAML 1.1, where ``yes`` is a truth value, ``010`` is eight and ``1e-3`` is text.
"""

from __future__ import annotations

import math
import re
from typing import Any

import yaml

NULL = ("", "~", "null", "Null", "NULL")
TRUTH = {
    word: value for value, name in ((True, "true"), (False, "false")) for word in (name, name.title(), name.upper())
}
INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
MAX_DIGITS = 300
"""Far more than any number in a recipe has; Python itself refuses to read thousands."""


class NotARecipe(yaml.YAMLError):
    """YAML that is well formed, but that no recipe needs."""

    def __init__(self, what: str, hint: str, line: int) -> None:
        super().__init__(what)
        self.what, self.hint, self.line = what, hint, line


def line_of(place: yaml.Event | yaml.Node) -> int:
    """Counted from 0, as PyYAML does."""
    return place.start_mark.line if place.start_mark is not None else 0


def typed(node: yaml.ScalarNode) -> Any:
    """The value of a scalar: text where it is quoted, else what the core schema takes it for.

    Raises ``NotARecipe`` for a number that is not finite or beyond what a float holds.
    """
    text = node.value
    if node.style is not None:
        return text
    if text in NULL:
        return None
    if text in TRUTH:
        return TRUTH[text]
    is_integer, is_float = INTEGER.fullmatch(text), FLOAT.fullmatch(text)
    if NOT_FINITE.fullmatch(text) or ((is_integer or is_float) and len(text) > MAX_DIGITS):
        raise NotARecipe("a number here is finite and has fewer digits", "Quote it if it is text", line_of(node))
    if is_integer:
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    if not is_float:
        return text
    if not math.isfinite(value := float(text)):
        raise NotARecipe("a number here is finite", "Quote it if it is text", line_of(node))
    return value


class Dumper(yaml.SafeDumper):
    """Quotes text that YAML 1.1 or the core schema would read as something else."""


# after PyYAML's own: the first that matches decides
for _tag, _pattern in (("int", INTEGER), ("float", FLOAT)):
    Dumper.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern.pattern})$"), list("-+.0123456789")
    )

"""Recipe text → plain data and the line of each key. Small files, and no YAML that could grow beyond its text."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import yaml

from toolkit.errors import RecipeError
from toolkit.recipe.scalars import NotARecipe, line_of, typed

MAX_BYTES = 1 << 20
MAX_DEPTH = 16  # PyYAML recurses, and no recipe is nested this deep
TYPED = ("engine", "llm_args")
"""The section whose scalars have YAML's types: its keys are TensorRT-LLM's, which the schema does not know."""


def read_text(path: Path) -> str:
    """The text of a recipe file; ``RecipeError`` unless it is a regular file of at most 1 MiB in UTF-8."""
    try:
        info = path.stat()
        if not stat.S_ISREG(info.st_mode):
            reason = "not a regular file"
        elif info.st_size > MAX_BYTES:
            reason = "more than 1 MiB is no recipe"
        else:
            return path.read_text(encoding="utf-8")
    except OSError as error:
        reason = error.strerror or type(error).__name__
    except UnicodeDecodeError:
        reason = "not a text file"
    except ValueError:
        reason = "a path cannot hold a NUL character"
    raise RecipeError(f"cannot read it: {reason}", where=str(path), hint="Type: trtkit recipes ls") from None


def parse(text: str, prefix: tuple[str, ...] = ()) -> tuple[yaml.Node | None, Any]:
    """The node tree, and the data with every scalar left as text: release 1.10 must not become 1.1.

    In ``TYPED`` alone scalars have the types of YAML's core schema; ``prefix`` is the key path that ``text`` stands at.
    Raises ``yaml.YAMLError``, among them ``NotARecipe`` for aliases, tags and deep nesting.
    """
    depth = 0
    for event in yaml.parse(text, Loader=yaml.BaseLoader):
        if isinstance(event, yaml.AliasEvent):
            raise NotARecipe("aliases are not allowed in a recipe", "Write it out", line_of(event))
        if getattr(event, "tag", None) is not None:
            raise NotARecipe("tags such as !!str are not allowed in a recipe", "Quote what is text", line_of(event))
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise NotARecipe(f"nested more than {MAX_DEPTH} deep", "No key of a recipe is", line_of(event))
    node = yaml.compose(text, Loader=yaml.BaseLoader)
    return node, None if node is None else _data(node, prefix)


def not_yaml(error: yaml.YAMLError, text: str, path: Path) -> RecipeError:
    """What ``parse`` raised, as one line with the file's line."""
    if isinstance(error, NotARecipe):
        return RecipeError(error.what, where=f"{path}:{error.line + 1}", hint=error.hint)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or type(error).__name__
    mark = getattr(error, "problem_mark", None)
    line = mark.line if mark is not None else text.count("\n", 0, getattr(error, "position", 0))
    return RecipeError(f"not YAML: {problem}", where=f"{path}:{line + 1}", hint="Quote text that holds : # [ ] { or }")


def key_lines(node: yaml.Node | None, path: Path, prefix: tuple[str, ...] = ()) -> dict[tuple[str, ...], str]:
    """Where each key stands: key path → ``file:line``. Raises ``RecipeError`` for a key that stands twice."""
    lines: dict[tuple[str, ...], str] = {}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*prefix, str(key.value))
            place = f"{path}:{key.start_mark.line + 1}"
            if here in lines:
                raise RecipeError(f"{'.'.join(here)!r} stands twice", where=place, hint="Keep one")
            lines[here] = place
            lines |= key_lines(value, path, here)
    return lines


def _data(node: yaml.Node, path: tuple[str, ...]) -> Any:
    if isinstance(node, yaml.MappingNode):
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise NotARecipe("a key is one word", "Write key: value", line_of(key))
        return {key.value: _data(value, (*path, key.value)) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return [_data(item, path) for item in node.value]
    assert isinstance(node, yaml.ScalarNode)
    if path[: len(TYPED)] == TYPED:
        return typed(node)
    return None if node.value in ("", "~", "null") else node.value

"""Recipe text → plain data and the line of each key. Small files, and no YAML that could grow beyond its text."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import yaml

from toolkit.errors import RecipeError

MAX_BYTES = 1 << 20
MAX_DEPTH = 16  # PyYAML recurses, and no recipe is nested this deep


class NotARecipe(yaml.YAMLError):
    """YAML that is well formed, but that no recipe needs."""

    def __init__(self, what: str, hint: str, line: int) -> None:
        super().__init__(what)
        self.what, self.hint, self.line = what, hint, line


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


def parse(text: str) -> tuple[yaml.Node | None, Any]:
    """The node tree, and the data with every scalar left as text: release 1.10 must not become 1.1.

    Raises ``yaml.YAMLError``, among them ``NotARecipe`` for aliases and deep nesting.
    """
    depth = 0
    for event in yaml.parse(text, Loader=yaml.BaseLoader):
        if isinstance(event, yaml.AliasEvent):
            raise NotARecipe("aliases are not allowed in a recipe", "Write it out", _line(event))
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise NotARecipe(f"nested more than {MAX_DEPTH} deep", "No key of a recipe is", _line(event))
    return yaml.compose(text, Loader=yaml.BaseLoader), _nulls(yaml.load(text, Loader=yaml.BaseLoader))


def not_yaml(error: yaml.YAMLError, text: str, path: Path) -> RecipeError:
    """What ``parse`` raised, as one line with the file's line."""
    if isinstance(error, NotARecipe):
        return RecipeError(error.what, where=f"{path}:{error.line + 1}", hint=error.hint)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or type(error).__name__
    mark = getattr(error, "problem_mark", None)
    line = mark.line if mark is not None else text.count("\n", 0, getattr(error, "position", 0))
    return RecipeError(f"not YAML: {problem}", where=f"{path}:{line + 1}", hint="Quote text that holds : # [ ] { or }")


def _line(event: yaml.Event) -> int:
    """Counted from 0, as PyYAML does."""
    return event.start_mark.line if event.start_mark is not None else 0


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


def _nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _nulls(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_nulls(inner) for inner in value]
    return None if value in ("", "~", "null") else value

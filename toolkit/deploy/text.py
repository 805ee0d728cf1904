"""Manifests as YAML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml


class _Dumper(yaml.SafeDumper):
    """Nothing is aliased, texts with several lines are written as blocks, and commands stay on one line."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _list(dumper: yaml.SafeDumper, items: Sequence[Any]) -> yaml.Node:
    plain = all(isinstance(item, str) and "\n" not in item for item in items)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=plain)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(list, _list)


def to_yaml(documents: Iterable[Mapping[str, Any]], comments: Iterable[str] = ()) -> str:
    """The documents of one file, each note a comment above them."""
    head = "".join(f"# {line}\n" for line in comments)
    return head + yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, width=100000, allow_unicode=True)

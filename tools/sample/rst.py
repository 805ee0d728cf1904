"""Turn Sphinx reST into plain prose: `blocks(text)` yields `Block(kind, text)` in document order.

Kinds: `title`, `para` (running text), `item` (list entry), `term` (a term or signature with its description).
Code, tables, comments, cross-reference targets and bookkeeping directives are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

# Directives whose body is prose worth keeping; every other directive is dropped with its body.
PROSE = {"note", "warning", "seealso", "tip", "impl-detail", "important", "admonition", "glossary", "rubric"}
VERSION = {"versionadded": "New in", "versionchanged": "Changed in", "deprecated": "Deprecated since"}
# Object descriptions: the signature stands before the body.
OBJECT = re.compile(
    r"(c:|py:)?(async)?(function|method|classmethod|staticmethod|class|attribute|data|exception|decorator|"
    r"decoratormethod|abstractmethod|awaitablefunction|awaitablemethod|coroutinemethod|asynccontextmanager|"
    r"macro|type|member|var|struct|opcode|option|cmdoption|envvar|describe|pdbcommand|token|2to3fixer)$"
)
DIRECTIVE = re.compile(r"\.\. ([A-Za-z0-9:_-]+)::\s*(.*)$")
UNDERLINE = re.compile(r"([=\-~^\"'*#.+:`])\1{2,}$")
MARKER = re.compile(r"(?:[*+•-]|#\.|\(?\d{1,2}[.)])\s+")
TABLE = re.compile(r"[+|=][-=+| ]")


class Block(NamedTuple):
    kind: str
    text: str


def inline(text: str) -> str:
    """Strip inline markup: roles, literals, emphasis, links."""
    text = re.sub(r":(?:[A-Za-z0-9+-]+:)?([A-Za-z0-9+-]+):`([^`]*)`", _role, text)
    text = re.sub(r"``(.+?)``", r"\1", text)
    text = re.sub(r"`([^`<]+?)\s*<[^`>]*>`__?", r"\1", text)
    text = re.sub(r"`([^`]+)`_{0,2}", r"\1", text)
    text = re.sub(r"(?<![\w*\\])\*\*(\S(?:.*?\S)?)\*\*", r"\1", text)
    text = re.sub(r"(?<![\w*\\])\*(\S(?:[^*]*?\S)?)\*(?![\w*])", r"\1", text)
    text = re.sub(r"\[[#*\w]+\]_", "", text)
    text = re.sub(r"\|[a-z_-]+\|", "", text)
    text = re.sub(r"\\([*`_|\\<>])", r"\1", text.replace("\\ ", "")).replace("---", "-").replace("--", "-")
    return re.sub(r"\s+", " ", text).strip()


def _role(match: re.Match[str]) -> str:
    role, body = match.groups()
    if role == "pep":
        return f"PEP {body}"
    if role == "issue":
        return f"bpo-{body}"
    if shown := re.match(r"(.+?)\s*<[^>]*>$", body, re.S):
        return shown.group(1)
    return body.rsplit(".", 1)[-1] if body.startswith("~") else body.lstrip("!")


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _body(lines: list[str], start: int, base: int) -> int:
    """Index after the run of lines indented deeper than `base` (blank lines included)."""
    end = start
    while end < len(lines) and (not lines[end].strip() or _indent(lines[end]) > base):
        end += 1
    return end


def blocks(text: str) -> Iterator[Block]:
    yield from _blocks(text.expandtabs(8).splitlines())


def _blocks(lines: list[str]) -> Iterator[Block]:
    i = 0
    while i < len(lines):
        line, base = lines[i].strip(), _indent(lines[i])
        if not line or UNDERLINE.match(line):
            i += 1
        elif line.startswith(".."):
            end = _body(lines, i + 1, base)
            if directive := DIRECTIVE.match(line):
                yield from _directive(directive.group(1), directive.group(2), lines[i + 1 : end])
            i = end
        elif i + 1 < len(lines) and UNDERLINE.match(lines[i + 1].strip()) and _indent(lines[i + 1]) == base == 0:
            yield Block("title", inline(line))
            i += 2
        else:
            end = i + 1
            while end < len(lines) and lines[end].strip():
                end += 1
            if (line.startswith((">>>", ":")) and not re.match(r":[\w:+-]+:`", line)) or TABLE.match(line):
                i = end
            elif marker := MARKER.match(line):
                stop = _body(lines, i + 1, base)
                inner = [" " * (base + marker.end()) + line[marker.end() :], *lines[i + 1 : stop]]
                for n, block in enumerate(_blocks(inner)):
                    yield Block("item", block.text) if n == 0 else block
                i = stop
            elif end > i + 1 and _indent(lines[i + 1]) > base:
                stop = _body(lines, i + 1, base)
                yield from _described(inline(line), list(_blocks(lines[i + 1 : stop])))
                i = stop
            else:
                text = inline(re.sub(r"\s*::$", ":", " ".join(part.strip() for part in lines[i:end])))
                i = _body(lines, end, base) if lines[end - 1].rstrip().endswith("::") else end  # skip the literal block
                if len(text) > 2:
                    yield Block("para", text)


def _described(term: str, body: list[Block]) -> Iterator[Block]:
    if body and body[0].kind == "para":
        yield Block("term", f"{term}: {body[0].text}")
        body = body[1:]
    yield from body


def _directive(name: str, argument: str, body: list[str]) -> Iterator[Block]:
    if OBJECT.match(name):
        while body and body[0].strip():  # options and further signatures of the same object
            body = body[1:]
        yield from _described(inline(argument), list(_blocks(body)))
    elif name in VERSION:
        words = argument.split(maxsplit=1)
        inner = list(_blocks(body))
        first = inline(" ".join(words[1:])) or (inner.pop(0).text if inner else "")
        yield Block("para", f"{VERSION[name]} version {words[0] if words else ''}" + (f": {first}" if first else "."))
        yield from inner
    elif name in PROSE:
        if argument and name != "availability":
            yield Block("para", inline(argument))
        yield from _blocks([line for line in body if not re.match(r"\s+:\w+:\s*$", line)])

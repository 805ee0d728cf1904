"""The chat template that comes with a tokenizer, rendered in jinja2's sandbox with what transformers gives it.

Source: transformers v4.56.2, utils/chat_template_utils.py (environment, filters, globals) and
tokenization_utils_base.py (which file, which of several templates, special tokens).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.checkpoint.regular import reading
from toolkit.checkpoint.source import read_json
from toolkit.errors import ChatError, MissingExtraError

if TYPE_CHECKING:
    import jinja2

TEMPLATE_FILE = "chat_template.jinja"
CONFIG_FILE = "tokenizer_config.json"
SPECIAL_TOKENS_FILE = "special_tokens_map.json"
SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


def find_templates(folder: Path) -> dict[str, str]:
    """Templates by name from ``chat_template.jinja``, else ``tokenizer_config.json``; empty where there is none."""
    path = folder / TEMPLATE_FILE
    if path.is_file():
        with reading(path):
            return {"default": template_text(path.read_bytes(), path)}
    path = folder / CONFIG_FILE
    found = read_json(path).get("chat_template") if path.is_file() else None
    if found is None:
        return {}
    if isinstance(found, str):
        return {"default": found}
    try:
        return {str(one["name"]): str(one["template"]) for one in found}
    except (TypeError, KeyError):
        what = "chat_template is neither a text nor a list of name and template"
        raise ChatError(what, where=str(path)) from None


def template_text(data: bytes, path: Path) -> str:
    """The bytes of a template's file as text; lines end with a newline, as Python reads them."""
    try:
        return data.decode().replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise ChatError(f"is not UTF-8 at byte {error.start}", where=str(path)) from None


def special_tokens(folder: Path) -> dict[str, str]:
    """``bos_token`` and the like by name, as templates use them."""
    found: dict[str, str] = {}
    for name in (SPECIAL_TOKENS_FILE, CONFIG_FILE):
        path = folder / name
        values = read_json(path) if path.is_file() else {}
        for key in SPECIAL_TOKENS:
            value = values.get(key)
            text = value.get("content") if isinstance(value, dict) else value
            if isinstance(text, str):
                found[key] = text
    return found


class Template:
    """One compiled template; ``where`` names it in errors, ``variables`` are those that it looks at."""

    def __init__(self, source: str, where: str) -> None:
        """Raises ``ChatError`` for a template that does not compile and ``MissingExtraError`` without jinja2."""
        try:
            import jinja2.meta
        except ImportError:
            raise MissingExtraError("jinja2", "chat") from None
        self._where = where
        self._now: Callable[[], datetime] = datetime.now
        environment = _environment(lambda form: self._now().strftime(form))
        try:
            self.variables = frozenset(jinja2.meta.find_undeclared_variables(environment.parse(source)))
            self._template = environment.from_string(source)
        except jinja2.TemplateSyntaxError as error:
            raise ChatError(
                f"the chat template is no Jinja: {error.message}", where=f"{where}:{error.lineno}"
            ) from None

    def render(self, variables: Mapping[str, Any], day: datetime | None = None) -> str:
        """``day`` is what ``strftime_now`` formats, by default now. Raises ``ChatError`` with the template's words."""
        self._now = datetime.now if day is None else lambda: day
        try:
            return self._template.render(**variables)
        except Exception as error:  # the template is foreign code: it may fail in any way
            raise ChatError(f"the chat template refuses: {error or type(error).__name__}", where=self._where) from None


def _environment(strftime_now: Callable[[str], str]) -> jinja2.Environment:
    import jinja2
    from jinja2 import nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.parser import Parser
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """``{% generation %}`` marks what was generated, for training; here its body is just rendered."""

        tags = {"generation"}  # noqa: RUF012  (jinja2's own declaration)

        def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def raise_exception(message: str) -> None:
        raise jinja2.TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals |= {"raise_exception": raise_exception, "strftime_now": strftime_now}
    return environment


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """jinja2's own filter escapes for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

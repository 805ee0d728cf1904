"""Imports point down only, as docs/architecture.md draws it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

TOOLKIT = Path(__file__).parents[1] / "toolkit"

# Top to bottom; a module may import from its own room and from any lower band.
BANDS = [
    {"cli"},
    {"deploy"},
    {"preflight"},
    {"bench"},
    {"serving"},
    {"chat"},
    {"engine"},
    {"plan"},
    {"inspection"},
    {"trtllm"},
    {"models"},
    {"checkpoint"},
    {"numerics"},
    {"recipe", "resources"},
    {"errors"},
]
LEVEL = {room: level for level, rooms in enumerate(BANDS) for room in rooms}


def room_of(module: str) -> str:
    return module.removeprefix("toolkit.").split(".")[0]


def imports(path: Path) -> set[str]:
    """Modules of this package that ``path`` imports, wherever in the file."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            package = node.module == "toolkit"
            found |= {f"toolkit.{alias.name}" for alias in node.names} if package else {node.module}
    return {name for name in found if name.startswith("toolkit.") and room_of(name) != "__version__"}


def modules() -> list[Path]:
    return sorted(path for path in TOOLKIT.rglob("*.py") if path.parent != TOOLKIT or path.stem != "__init__")


def test_every_room_has_a_band() -> None:
    rooms = {path.relative_to(TOOLKIT).parts[0].removesuffix(".py") for path in modules()}
    assert rooms == set(LEVEL)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(TOOLKIT)))
def test_imports_point_down(path: Path) -> None:
    room = path.relative_to(TOOLKIT).parts[0].removesuffix(".py")
    upward = {name for name in imports(path) if room_of(name) != room and LEVEL[room_of(name)] <= LEVEL[room]}
    assert upward == set()


def test_help_loads_no_verb_and_nothing_heavy() -> None:
    code = (
        "import sys; from click.testing import CliRunner; from toolkit.cli import main;"
        "assert CliRunner().invoke(main, ['--help']).exit_code == 0;"
        "heavy = {'numpy', 'pydantic', 'yaml', 'rich', 'grpc', 'tokenizers', 'toolkit.recipe'};"
        "print(sorted(heavy & set(sys.modules)), [m for m in sys.modules if m.startswith('toolkit.cli.')])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[] []\n"


def test_optional_packages_are_imported_only_inside_functions() -> None:
    optional = {"torch", "transformers", "modelopt", "tensorrt_llm", "tensorrt", "altair", "vl_convert", "pytriton"}
    optional |= {"openai_harmony", "jinja2", "pynvml"}
    at_import = {
        (path.relative_to(TOOLKIT).as_posix(), name)
        for path in modules()
        for node in ast.parse(path.read_text()).body
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
        if name.split(".")[0] in optional
    }
    assert at_import == set()

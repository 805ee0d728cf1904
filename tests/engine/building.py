"""Building the sample, for the tests of the build."""

from __future__ import annotations

from pathlib import Path

from toolkit import recipe as recipes
from toolkit.checkpoint.files import sha256_file
from toolkit.engine.build import Built, build
from toolkit.plan.source import open_planned

B200 = ("target.runtime=tensorrt-llm", "target.release=1.2.1", "target.gpu=b200")


def run(root: Path, output: Path, *overrides: str, progress: object = None, workers: int | None = None) -> Built:
    recipe = recipes.load(root / "recipes/tiny-gpt-oss/cpu.yaml", (f"engine.output={output}", *overrides))
    source, plan = open_planned(recipe)
    with source:
        return build(recipe, plan, source, progress or (lambda done, total: None), workers=workers)  # type: ignore[arg-type]


def tree(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): sha256_file(p) for p in sorted(folder.rglob("*")) if p.is_file()}


def partial_of(output: Path) -> Path:
    return output.with_name(f".{output.name}.trtkit-partial")

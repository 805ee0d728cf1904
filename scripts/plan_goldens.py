"""Write the plan of every (model, release, GPU) cell as text to tests/plan/goldens, or check what is there.

    python scripts/plan_goldens.py [--check]

One file a model and release, one section a GPU. Plans are predicted from published export recipes: nothing is read or
downloaded. docs/compatibility.md is the same in one table.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from toolkit import recipe
from toolkit.checkpoint.census import Census
from toolkit.models.known import predicted_census
from toolkit.plan import Plan, make_plan
from toolkit.plan.describe import describe, doubts
from toolkit.trtllm import load_targets

ROOT = Path(__file__).parents[1]
GOLDENS = ROOT / "tests" / "plan" / "goldens"
MATRIX = ROOT / "docs" / "compatibility.md"
RELEASES = ("1.0.0", "1.1.0", "1.2.1", "1.3.0rc20", "1.3.0rc22", "1.4.0rc1")
BASE = ROOT / "recipes" / "gpt-oss-120b" / "b200.yaml"
# name → published checkpoint, further overrides
MODELS: dict[str, tuple[str, tuple[str, ...]]] = {
    "gpt-oss-120b-nvfp4": ("Firworks/gpt-oss-120b-nvfp4", ()),
    "gpt-oss-120b-mxfp4": ("openai/gpt-oss-120b", ()),
    "gpt-oss-20b-mxfp4": ("openai/gpt-oss-20b", ()),
    "gpt-oss-20b-cast-to-nvfp4": ("openai/gpt-oss-20b", ("target.weights=nvfp4",)),
    "llama-3.1-8b-nvfp4": ("nvidia/Llama-3.1-8B-Instruct-NVFP4", ()),
    "llama-3.1-8b-nvfp4-compiled": ("nvidia/Llama-3.1-8B-Instruct-NVFP4", ("target.backend=tensorrt",)),
    "qwen3-30b-a3b-nvfp4": ("nvidia/Qwen3-30B-A3B-NVFP4", ()),
}
WORDS = {"loads": "as it is", "after-change": "after a change", "refused": "no"}


def plan_of(model: str, release: str, gpu: str) -> Plan:
    """The plan of one cell at tp 1, all else as in the B200 recipe."""
    repo, more = MODELS[model]
    overrides = (f"checkpoint.repo={repo}", f"target.release={release}", f"target.gpu={gpu}", *more)
    return make_plan(recipe.load(BASE, overrides), census_of(repo), predicted=True)


@cache
def census_of(repo: str) -> Census:
    census = predicted_census(repo)
    assert census is not None, f"{repo} is not among the known checkpoints"
    return census


@cache
def cell(model: str, release: str, gpu: str) -> tuple[str, str]:
    """The plan as text, and its word in the matrix."""
    plan = plan_of(model, release, gpu)
    return describe(plan, model), word(plan)


def golden(model: str, release: str) -> str:
    return "\n\n".join(cell(model, release, gpu)[0] for gpu in load_targets().gpus) + "\n"


def word(plan: Plan) -> str:
    """One cell of the matrix: the verdict, ``lossy`` and ``contested`` where they hold."""
    said = [word for word in doubts(plan) if word != "not exactly"]
    names = [*(["lossy"] if plan.lossy else []), *said]
    return WORDS[plan.verdict] + (f" ({', '.join(names)})" if names else "")


def matrix() -> str:
    gpus = list(load_targets().gpus)
    lines = [
        "# What loads where",
        "",
        f"What `trtkit plan` says of one GPU of each kind, facts as of {load_targets().checked}. *As it is*: the",
        "published files load. *After a change*: the one that the plan lists. *Lossy*: that change is not exact.",
        "*Unverified*, *expected*: the release should have the loader; the plan prints the command that settles it.",
        "*Contested*: the kernel is in the code, but open issues report that it fails. *No* has its reason and ways",
        "out in the plan of that cell: `tests/plan/goldens/` holds them all. Nothing here was run on a GPU.",
        "Made by `scripts/plan_goldens.py`.",
    ]
    for model in MODELS:
        lines += ["", f"## {model}", "", f"| release | {' | '.join(gpus)} |", f"| --- |{' --- |' * len(gpus)}"]
        for release in RELEASES:
            lines.append(f"| {release} | {' | '.join(cell(model, release, gpu)[1] for gpu in gpus)} |")
    return "\n".join(lines) + "\n"


def documents() -> Iterator[tuple[Path, str]]:
    for model in MODELS:
        for release in RELEASES:
            yield GOLDENS / f"{model}-{release}.txt", golden(model, release)
    yield MATRIX, matrix()


def main() -> int:
    stale = []
    for path, text in documents():
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(path.relative_to(ROOT))
        if "--check" not in sys.argv:
            path.write_text(text, encoding="utf-8")
    for name in stale:
        print(f"{'stale' if '--check' in sys.argv else 'wrote'} {name}")
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())

"""Render ``triton_repo/`` into a Triton model repository for one engine bundle.

<folder>/.trtkit.json                 says that trtkit wrote the folder and may replace it
<folder>/<model_name>/config.pbtxt    the template with names and paths filled in
<folder>/<model_name>/1/model.py
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from pathlib import Path
from string import Template

import toolkit
from toolkit.engine.bundle import Bundle
from toolkit.errors import ServerError
from toolkit.recipe import Recipe
from toolkit.resources import PACKAGE, triton_repo_dir

MARKER = ".trtkit.json"
TEMPLATE = "tensorrt_llm"
ENGINE_FACTORY = "toolkit.engine.runtime:open_engine"
MODEL_FILES = ("config.pbtxt", "1/model.py")


def render(
    bundle: Bundle,
    folder: Path,
    *,
    model_name: str = TEMPLATE,
    max_queue_size: int = 256,
    engine_factory: str = ENGINE_FACTORY,
    coalesce: bool = True,
) -> Path:
    """Write the model repository of ``bundle`` to ``folder`` and return the folder.

    It is written beside and renamed. A folder that trtkit did not write, or that a server runs from, is left alone.
    ``engine_factory`` names what opens the engine, as ``module:attribute``. Without ``coalesce`` a stream gets a
    response every ``engine.stream_interval`` tokens even when that slows the engine down. Raises ``ServerError``.
    """
    if not (bundle.tokenizer_dir / "tokenizer.json").is_file():
        raise ServerError(
            "the bundle has no tokenizer.json, so text cannot be served",
            where=str(bundle.tokenizer_dir),
            hint="Build it again with --set checkpoint.tokenizer=DIR",
        )
    folder = folder.absolute()
    _check_ours(folder)
    values = {
        "model_name": model_name,
        "bundle": str(bundle.folder.absolute()),
        "identity": bundle.manifest["identity"],
        "engine_factory": engine_factory,
        "max_queue_size": str(max_queue_size),
        "coalesce": str(coalesce).lower(),
        "toolkit_path": str(PACKAGE.absolute().parent),
    }
    try:
        _place(folder, model_name, values)
    except OSError as error:
        raise ServerError(f"cannot write the model repository: {error.strerror}", where=str(folder)) from error
    return folder


def render_for(recipe: Recipe, bundle: Bundle) -> Path:
    """``render`` as the recipe's serve section says."""
    serve = recipe.serve
    return render(bundle, serve.repository, model_name=serve.model_name, max_queue_size=serve.max_queue_size)


def _place(folder: Path, model_name: str, values: dict[str, str]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        _write(fresh, model_name, values)
        _replace(folder, fresh)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


class Lease:
    """Held by a running server: the repository it runs from, and the log beside it, stay as they are."""

    def __init__(self, folder: Path) -> None:
        marker = folder / MARKER
        self._file = os.open(marker, os.O_RDONLY) if marker.is_file() else None
        if self._file is not None:
            fcntl.flock(self._file, fcntl.LOCK_SH)

    def release(self) -> None:
        """Safe to call twice."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _check_free(marker: Path) -> None:
    with marker.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ServerError(
                "a server runs from this model repository",
                where=str(marker.parent),
                hint="Stop it, or choose another folder with --set serve.repository=DIR",
            ) from None


def _check_ours(folder: Path) -> None:
    if (folder / MARKER).is_file():
        _check_free(folder / MARKER)
        return
    if not folder.exists():
        return
    if not folder.is_dir() or any(folder.iterdir()):
        raise ServerError(
            "this is not a model repository that trtkit rendered, so it is left alone",
            where=str(folder),
            hint="Choose another folder with --set serve.repository=DIR",
        )


def _write(folder: Path, model_name: str, values: dict[str, str]) -> None:
    template = triton_repo_dir() / TEMPLATE
    for name in MODEL_FILES:
        target = folder / model_name / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(template / name, target)
    quoted = {key: _quoted(value) for key, value in values.items()}
    config = folder / model_name / "config.pbtxt"
    config.write_text(Template(config.read_text()).substitute(quoted))
    (folder / MARKER).write_text(json.dumps({"trtkit": toolkit.__version__, **values}, indent=2) + "\n")
    folder.chmod(0o755)


def _quoted(text: str) -> str:
    """``text`` as it may stand between the quotes of a protobuf text string."""
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _replace(folder: Path, fresh: Path) -> None:
    old = fresh.with_name(f"{fresh.name}.old")
    if folder.exists():
        folder.rename(old)
    fresh.replace(folder)
    shutil.rmtree(old, ignore_errors=True)

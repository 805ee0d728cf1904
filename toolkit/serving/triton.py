"""The real Triton server, of NVIDIA's containers or of the PyPI wheel ``nvidia-pytriton``: find, check and stage it.

A container's is whole: its backends folder has the stub (model process) of the container's Python, which reads any
numpy. The wheel has one stub a Python version, none of them where Triton looks. Staging puts the right one into a
private backends folder, so site-packages stays as it was installed.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from toolkit.errors import MissingExtraError, ServerError

BACKEND_FILES = ("libtriton_python.so", "triton_python_backend_utils.py")
STUB = "triton_python_backend_stub"
CONTAINER = Path("/opt/tritonserver")
VARIABLE = "TRTKIT_TRITON"
"""Names the folder of an installed Triton that is laid out like a container's; it goes before all others."""


@dataclass(frozen=True, slots=True)
class Triton:
    """Where the parts of an installed Triton are. ``stub`` is None where the backends folder has its own."""

    folder: Path
    stub: Path | None = None
    library_dirs: tuple[Path, ...] = ()

    @property
    def binary(self) -> Path:
        return self.folder / "bin" / "tritonserver"

    def stage_backends(self, folder: Path) -> Path:
        """The backends folder: Triton's own if it is whole, else ``folder``, written with this Python's stub."""
        if self.stub is None:
            return self.folder / "backends"
        python = folder / "python"
        python.mkdir(parents=True)
        for name in BACKEND_FILES:
            (python / name).symlink_to(self.folder / "backends" / "python" / name)
        shutil.copy(self.stub, python / STUB)
        (python / STUB).chmod(0o755)
        return folder

    def environment(self, base: Mapping[str, str]) -> dict[str, str]:
        """``base`` with what the server and its stub need: this Python first on PATH, and the shared libraries."""
        libraries = [str(folder) for folder in self.library_dirs]
        paths = {"PATH": [str(Path(sys.executable).parent)], "LD_LIBRARY_PATH": libraries}
        joined = {key: os.pathsep.join([*new, *filter(None, [base.get(key)])]) for key, new in paths.items() if new}
        return {**base, **joined}


def find() -> Triton:
    """The installed Triton, checked: the one that ``TRTKIT_TRITON`` names, a container's, or the wheel's.

    Raises ``ServerError`` or ``MissingExtraError`` that say what to type.
    """
    if named := os.environ.get(VARIABLE):
        return _whole(Path(named), hint=f"Set {VARIABLE} to a folder like {CONTAINER}, or unset it")
    if (CONTAINER / "bin" / "tritonserver").is_file():
        return _whole(CONTAINER, hint="Use an image whose Triton has the Python backend: one of -trtllm-python-py3")
    return _of_wheel()


def _whole(folder: Path, hint: str) -> Triton:
    found = Triton(folder.absolute())
    python = found.folder / "backends" / "python"
    for file in (found.binary, *(python / name for name in (*BACKEND_FILES, STUB))):
        if not file.is_file():
            raise ServerError("this Triton lacks this file", where=str(file), hint=hint)
    return found


def _of_wheel() -> Triton:
    _check_platform()
    spec = importlib.util.find_spec("pytriton")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError("nvidia-pytriton", "server")
    package = Path(next(iter(spec.submodule_search_locations)))
    _check_numpy()
    folder = package / "tritonserver"
    stub = folder / "python_backend_stubs" / _python() / STUB
    for file in (folder / "bin" / "tritonserver", stub):
        if not file.is_file():
            raise ServerError(
                "nvidia-pytriton lacks this file", where=str(file), hint="Type: pip install nvidia-pytriton==0.7.0"
            )
    libpython = _libpython_dir()
    return Triton(folder, stub, (*((libpython,) if libpython else ()), package.parent / "nvidia_pytriton.libs"))


def _python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _check_platform() -> None:
    here = f"{platform.system()} {platform.machine()}"
    if here != "Linux x86_64":
        raise ServerError(f"Triton from PyPI runs on Linux x86_64 only, and this is {here}")
    if sys.version_info >= (3, 13):
        raise ServerError(
            f"Triton from PyPI has no usable stub for Python {_python()}: it needs numpy<2, which has no wheel there",
            hint="Use Python 3.11 or 3.12",
        )


def _check_numpy() -> None:
    version = importlib.metadata.version("numpy")
    if int(version.partition(".")[0]) >= 2:
        raise ServerError(
            f"numpy {version} is installed, and this Triton's stub reads numpy 2 arrays wrongly without an error",
            hint="Type: pip install 'numpy<2'",
        )


def _libpython_dir() -> Path | None:
    """Where the shared libpython that the stub links is; None if the loader finds it by itself."""
    name = f"libpython{_python()}.so.1.0"
    multiarch = sysconfig.get_config_var("MULTIARCH") or ""
    system = [Path("/usr/lib"), Path("/usr/lib64"), Path("/lib64"), Path("/usr/lib") / multiarch]
    for folder in (Path(sysconfig.get_config_var("LIBDIR") or "/usr/lib"), Path(sys.base_prefix) / "lib"):
        if (folder / name).exists():
            return folder
    if any((folder / name).exists() for folder in system):
        return None
    raise ServerError(
        f"Triton's model process needs the shared library {name}, and this Python came without it",
        hint=f"Type: apt-get install libpython{_python()}, or use a Python built with --enable-shared",
    )

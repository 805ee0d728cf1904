"""Puts the codecs' compiled kernels into the wheel, or beside their source for an editable install.

With a C compiler the wheel is py3-none-<platform>: one for every Python 3. Without one it is pure and the codecs run on
NumPy. ``TRTKIT_WHEEL_PLATFORM`` names the platform tag of a cross build (``CC`` makes the code); then a compiler that
fails ends the build. The value ``any`` asks for the pure wheel.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sysconfig
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

VARIABLE = "TRTKIT_WHEEL_PLATFORM"
NATIVE = Path("toolkit/numerics/native")


class KernelsHook(BuildHookInterface):  # type: ignore[misc]  # hatchling's generic has a parameter that nothing reads
    """Called by hatchling for each wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        platform = os.environ.get(VARIABLE, "")
        if self.target_name != "wheel" or platform == "any":
            return
        kernels = _load(Path(self.root) / NATIVE / "build.py")
        self._folder = tempfile.TemporaryDirectory()
        editable = version == "editable"
        try:
            library = kernels.build(kernels.LIBRARY if editable else Path(self._folder.name) / kernels.LIBRARY.name)
        except kernels.BuildError as error:
            if platform:
                raise
            self.app.display_warning(f"the codecs will run on NumPy: {error}")
            return
        if not editable:
            tag = platform or re.sub(r"[-.]", "_", sysconfig.get_platform())
            build_data["force_include"][str(library)] = (NATIVE / library.name).as_posix()
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{tag}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if hasattr(self, "_folder"):
            self._folder.cleanup()


def _load(path: Path) -> ModuleType:
    """The module at ``path``; the package it belongs to is not installed yet."""
    spec = importlib.util.spec_from_file_location("kernels_build", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

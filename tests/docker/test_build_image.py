from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

TOOLS = ("sh", "dirname", "mkdir", "id", "pwd")


def build_image(root: Path, folder: Path, path: str) -> subprocess.CompletedProcess[str]:
    script = root / "scripts" / "build_image.sh"
    environment = {"PATH": path, "HOME": str(folder)}
    command = [shutil.which("sh") or "/bin/sh", str(script), str(folder / "work")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_without_the_tools_it_is_skipped_in_one_line(root: Path, tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in TOOLS:
        if (found := shutil.which(name)) is not None:
            (tools / name).symlink_to(found)
    done = build_image(root, tmp_path, str(tools))
    needs_root = "building in a chroot takes root"
    missing = "buildah is not here; type: apt-get install buildah podman crun debootstrap"
    assert (done.returncode, done.stderr) == (3, f"skipped: {missing if os.getuid() == 0 else needs_root}\n")


def test_a_shell_takes_it(root: Path) -> None:
    shell = shutil.which("dash") or shutil.which("sh")
    if shell is None:
        pytest.skip("there is no shell")
    subprocess.run([shell, "-n", str(root / "scripts" / "build_image.sh")], check=True)

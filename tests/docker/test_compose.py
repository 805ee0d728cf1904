from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.schemas import check_compose


@pytest.fixture
def compose_file(root: Path) -> Path:
    return root / "docker" / "compose.yaml"


def test_it_is_as_generated(root: Path, compose_file: Path) -> None:
    spec = importlib.util.spec_from_file_location("compose_script", root / "scripts" / "compose.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert compose_file.read_text() == script.document()


def test_both_profiles_fit_the_compose_spec(compose_file: Path) -> None:
    document = yaml.safe_load(compose_file.read_text())
    check_compose(document)
    services: list[dict[str, Any]] = list(document["services"].values())
    assert [service["profiles"] for service in services] == [["cpu"], ["gpu"]]
    for service in services:
        build = service["build"]
        assert (compose_file.parent / build["context"] / build["dockerfile"]).resolve().is_file()


@pytest.mark.parametrize("profile", ["cpu", "gpu"])
def test_docker_compose_takes_it(compose_file: Path, profile: str, tmp_path: Path) -> None:
    if shutil.which("docker") is None:
        pytest.skip("there is no docker")
    if subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker has no compose plugin here")
    command = ["docker", "compose", "-f", str(compose_file), "--profile", profile, "config"]
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(tmp_path), "TRTKIT_BUNDLE": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    [service] = yaml.safe_load(done.stdout)["services"].values()
    assert service["profiles"] == [profile]

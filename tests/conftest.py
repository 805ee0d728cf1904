"""Fixtures shared by all tests. No test sees the user's home, cache or network configuration."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

import pytest
from hypothesis import settings

os.environ["HF_HUB_OFFLINE"] = "1"  # huggingface_hub reads it when it is imported, which collecting tests does
settings.register_profile("trtkit", derandomize=True, database=None, deadline=None)
settings.load_profile("trtkit")

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _isolated_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    monkeypatch.setenv("HF_HOME", str(home / "hf"))


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def sample() -> Path:
    """The committed NVFP4 sample checkpoint."""
    return ROOT / "samples" / "tiny-gpt-oss" / "nvfp4"


@pytest.fixture(scope="session")
def shared_fixtures() -> Path:
    """Checkpoints written by the real ModelOpt, where they stand beside the checkout."""
    folder = ROOT.parent / "shared" / "fixtures"
    if not folder.is_dir():
        pytest.skip("the shared fixtures are not here")
    return folder


@pytest.fixture(scope="session")
def real_triton() -> None:
    """Skip where the wheel has no usable server; anywhere else its absence is a failure."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64") or sys.version_info >= (3, 13):
        pytest.skip("Triton from PyPI does not run here")
    from toolkit.serving import triton

    triton.find()

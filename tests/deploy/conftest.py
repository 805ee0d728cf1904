from __future__ import annotations

from pathlib import Path

import pytest

from tests.deploy.made_up import B200, build_sample


@pytest.fixture(scope="session")
def cpu_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample's bundle for the CPU runtime; nobody may change it."""
    folder = tmp_path_factory.mktemp("bundles") / "cpu"
    build_sample(folder)
    return folder


@pytest.fixture(scope="session")
def b200_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample's bundle for TensorRT-LLM 1.2.1 on a B200; nobody may change it."""
    folder = tmp_path_factory.mktemp("bundles") / "b200"
    build_sample(folder, *B200)
    return folder

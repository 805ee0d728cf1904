from __future__ import annotations

from pathlib import Path

import pytest

from tests.preflight.made_up import WITH_NVFP4, WITHOUT_NVFP4, fake_tensorrt_llm
from toolkit.preflight.known import load_known
from toolkit.preflight.loader import probe
from toolkit.preflight.machine import Probed

FEATURE = load_known().features[0]
MODULE = "tensorrt_llm._torch.models.modeling_gpt_oss"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("model", "outcome"),
    [
        (WITH_NVFP4, Probed(True)),
        (WITHOUT_NVFP4, Probed(False)),
        (WITH_NVFP4 + "import atexit\natexit.register(print, 'bye')\n", Probed(True)),
        (
            "",
            Probed(
                problem=f"{MODULE} cannot be imported: "
                f"AttributeError: module '{MODULE}' has no attribute 'GptOssForCausalLM'"
            ),
        ),
        (
            "import libcuda_stub",
            Probed(problem=f"{MODULE} cannot be imported: ModuleNotFoundError: No module named 'libcuda_stub'"),
        ),
        ("import os\nos._exit(0)", Probed(problem=f"{MODULE} cannot be imported: exit code 0")),
        ("import os\nos.abort()", Probed(problem=f"{MODULE} cannot be imported: exit code -6")),
    ],
)
def test_a_fake_release(site: Path, model: str, outcome: Probed) -> None:
    fake_tensorrt_llm(site, "1.2.1", model)
    assert probe(FEATURE) == outcome


def test_an_import_that_does_not_end(site: Path) -> None:
    fake_tensorrt_llm(site, "1.2.1", "import threading\nthreading.Event().wait()")
    assert probe(FEATURE, timeout_s=0.5) == Probed(problem=f"importing {MODULE} took more than 0.5 s")


def test_a_checkout_in_the_current_folder_is_not_imported(
    site: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_tensorrt_llm(site, "1.2.1", WITH_NVFP4)
    monkeypatch.chdir(fake_tensorrt_llm(tmp_path_factory.mktemp("checkout"), "0.0.0", "raise SystemExit(1)"))
    assert probe(FEATURE) == Probed(True)

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from tests.preflight.made_up import WITH_NVFP4, fake_nvidia_smi, fake_tensorrt_llm, without_temporary_folder
from toolkit.preflight import doctor, inventory
from toolkit.preflight.finding import Finding

Run = Callable[..., Result]
FOUND = [Finding("python", "ok", "3.11.7 on Linux x86_64"), Finding("gpu", "skip", "no nvidia-smi on PATH")]
CHECKED = [
    Finding("plan", "ok", "the target loads the checkpoint as it is"),
    Finding("stack", "warn", "8 MiB", "docker run --ulimit stack=67108864"),
    Finding("checkpoint", "skip", "nothing to see"),
]
FAILED = Finding("shm", "fail", "64 MiB", "--shm-size=8g")
B200 = ("--set", "target.runtime=tensorrt-llm", "--set", "target.release=1.2.1", "--set", "target.gpu=b200")
RECIPE = "tiny-gpt-oss/cpu"


@pytest.fixture
def _made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "examine", lambda: FOUND)
    monkeypatch.setattr(doctor, "preflight", lambda recipe, named: CHECKED)


@pytest.mark.usefixtures("_made_up")
def test_what_this_machine_has(trtkit: Run) -> None:
    result = trtkit("doctor")
    assert (result.exit_code, result.output) == (
        0,
        "ok   python    3.11.7 on Linux x86_64\nno   gpu       no nvidia-smi on PATH\n",
    )


@pytest.mark.usefixtures("_made_up")
def test_a_recipe(trtkit: Run) -> None:
    result = trtkit("doctor", RECIPE)
    assert (result.exit_code, result.output) == (
        0,
        "ok   plan       the target loads the checkpoint as it is\n"
        "warn stack      8 MiB → docker run --ulimit stack=67108864\n"
        "skip checkpoint nothing to see\n"
        "tiny-gpt-oss-cpu: can run here\n",
    )


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        ((RECIPE,), RECIPE),
        ((RECIPE, *B200[4:], "--set", "serve.host=::1 "), f"{RECIPE} --set target.gpu=b200 --set 'serve.host=::1 '"),
    ],
)
def test_commands_name_the_recipe_as_the_user_did(
    trtkit: Run, monkeypatch: pytest.MonkeyPatch, argv: tuple[str, ...], named: str
) -> None:
    monkeypatch.setattr(doctor, "preflight", lambda recipe, named: [Finding("plan", "fail", "no", named)])
    assert trtkit("doctor", *argv).stdout.splitlines()[0] == f"FAIL plan      no → {named}"


def test_a_failed_check(trtkit: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "preflight", lambda recipe, named: [*CHECKED, FAILED])
    result = trtkit("doctor", RECIPE)
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-2:] == [
        "FAIL shm        64 MiB → --shm-size=8g",
        "tiny-gpt-oss-cpu: cannot run here: shm",
    ]


def test_json(trtkit: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "preflight", lambda recipe, named: [*CHECKED, FAILED])
    result = trtkit("doctor", RECIPE, "--json")
    assert result.exit_code == 1
    values = [
        ("plan", True, "the target loads the checkpoint as it is", "ok", None),
        ("stack", True, "8 MiB", "warn", "docker run --ulimit stack=67108864"),
        ("checkpoint", False, "nothing to see", "skip", None),
        ("shm", False, "64 MiB", "fail", "--shm-size=8g"),
    ]
    keys = ("name", "usable", "detail", "status", "fix")
    assert json.loads(result.stdout) == [dict(zip(keys, value, strict=True)) for value in values]


@pytest.mark.usefixtures("_made_up")
@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (("--has", "python"), 0),
        (("--has", "gpu"), 1),
        ((RECIPE, "--has", "stack"), 0),
        ((RECIPE, "--has", "checkpoint"), 1),
    ],
)
def test_has(trtkit: Run, argv: tuple[str, ...], code: int) -> None:
    result = trtkit("doctor", *argv)
    assert (result.exit_code, result.output) == (code, "")


@pytest.mark.usefixtures("_made_up")
def test_has_something_unheard_of(trtkit: Run) -> None:
    result = trtkit("doctor", "--has", "tpu")
    assert result.exit_code == 2
    assert result.stderr.endswith("Error: Invalid value for --has: one of python, gpu\n")


def test_overrides_need_a_recipe(trtkit: Run) -> None:
    result = trtkit("doctor", "--set", "target.gpu=b200")
    assert result.exit_code == 2
    assert result.stderr.endswith("Error: --set overrides a key of RECIPE, and none is given\n")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("no/such.yaml",), "no/such.yaml"),
        ((RECIPE, *B200, "--set", "target.gpu=b20"), "target.gpu: unknown GPU 'b20'. Did you mean 'b200'?"),
        ((RECIPE, *B200, "--set", "target.release=9"), "target.release: unknown TensorRT-LLM release '9'."),
    ],
)
def test_a_recipe_that_is_none(trtkit: Run, argv: tuple[str, ...], message: str) -> None:
    result = trtkit("doctor", *argv)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_the_real_probes_on_a_made_up_container(trtkit: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = fake_tensorrt_llm(tmp_path / "site", "1.2.1", WITH_NVFP4)
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CUDA_VERSION", "13.0.2.006")
    monkeypatch.setenv("TIKTOKEN_ENCODINGS_BASE", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    fake_nvidia_smi(tmp_path)
    result = trtkit("doctor", RECIPE, *B200, "--json")
    found = {line["name"]: (line["status"], line["detail"]) for line in json.loads(result.stdout)}
    assert result.exit_code == 1
    assert {name: found[name] for name in ("release", "cuda", "gpu", "memory", "loader", "harmony")} == {
        "release": ("ok", "TensorRT-LLM 1.2.1"),
        "cuda": ("ok", "13.0.2.006 installed, the driver runs up to 13.0"),
        "gpu": ("fail", "NVIDIA H100 80GB HBM3 (SM 90), and the recipe is for b200 (SM 100)"),
        "memory": ("ok", "79.2 GiB of 79.6 GiB free on GPU 0"),
        "loader": ("ok", "GptOssForCausalLM.load_nvfp4_weights is there"),
        "harmony": ("fail", f"TIKTOKEN_ENCODINGS_BASE is set, and {tmp_path}/o200k_base.tiktoken is not there"),
    }


def test_a_read_only_container(trtkit: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("CUDA_VISIBLE_DEVICES", "TIKTOKEN_ENCODINGS_BASE", "TIKTOKEN_RS_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TMPDIR", "/nowhere")
    fake_nvidia_smi(tmp_path)
    without_temporary_folder(monkeypatch)
    assert trtkit("doctor", "--has", "gpu").exit_code == 0
    found = {line["name"]: line for line in json.loads(trtkit("doctor", RECIPE, *B200, "--json").stdout)}
    assert found["driver"]["detail"].startswith("580.159.04, ")
    assert found["harmony"]["status"] == "warn"


def test_a_cache_that_cannot_be_read(trtkit: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "file" / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "file" / "token"))
    monkeypatch.setenv("PATH", str(tmp_path))
    result = trtkit("doctor", "gpt-oss-120b/b200", "--json")
    found = {line["name"]: line for line in json.loads(result.stdout)}
    assert result.exit_code == 1
    assert (found["plan"]["status"], found["cache"]["status"]) == ("skip", "fail")
    assert found["cache"]["detail"] == f"{tmp_path / 'file'} takes no file"
    assert found["cache"]["fix"] == "Set HF_HOME to a folder of yours"
    assert "ports" in found

from __future__ import annotations

import stat
from collections import namedtuple
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import SimpleNamespace

import pytest

from toolkit.errors import MissingExtraError, ServerError, TrtkitError
from toolkit.serving import triton

Version = namedtuple("Version", "major minor")


class Machine:
    """A machine as ``triton`` sees it, on which everything is as it should be until something is changed."""

    def __init__(self, folder: Path) -> None:
        self.wheel = folder / "pytriton/tritonserver"
        self.files = [
            self.wheel / "bin/tritonserver",
            self.wheel / "python_backend_stubs/3.12" / triton.STUB,
            *(self.wheel / "backends/python" / name for name in triton.BACKEND_FILES),
            folder / "lib/libpython3.12.so.1.0",
        ]
        for file in self.files:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(file.name)
        self.spec: ModuleSpec | None = ModuleSpec("pytriton", None, is_package=True)
        self.spec.submodule_search_locations = [str(folder / "pytriton")]
        self.version = Version(3, 12)
        self.machine = "x86_64"
        self.numpy = "1.26.4"
        self.folder = folder

    def find(self, monkeypatch: pytest.MonkeyPatch) -> triton.Triton:
        monkeypatch.delenv(triton.VARIABLE, raising=False)
        monkeypatch.setattr(triton, "CONTAINER", self.folder / "no-container")
        variables = {"LIBDIR": str(self.folder / "lib"), "MULTIARCH": "none"}
        prefix, executable = str(self.folder / "prefix"), str(self.folder / "venv/bin/python")
        sys = SimpleNamespace(version_info=self.version, base_prefix=prefix, executable=executable)
        importlib = SimpleNamespace(
            util=SimpleNamespace(find_spec=lambda name: self.spec),
            metadata=SimpleNamespace(version=lambda name: self.numpy),
        )
        monkeypatch.setattr(triton, "sys", sys)
        monkeypatch.setattr(triton, "importlib", importlib)
        monkeypatch.setattr(triton, "sysconfig", SimpleNamespace(get_config_var=variables.get))
        monkeypatch.setattr(triton, "platform", SimpleNamespace(system=lambda: "Linux", machine=lambda: self.machine))
        return triton.find()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_what_the_server_runs_with(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = machine.find(monkeypatch)
    assert found.binary == machine.wheel / "bin/tritonserver"
    libraries = f"{tmp_path / 'lib'}:{tmp_path / 'nvidia_pytriton.libs'}"
    assert found.environment({"PATH": "/bin", "LANG": "C"}) == {
        "PATH": f"{tmp_path / 'venv/bin'}:/bin",
        "LANG": "C",
        "LD_LIBRARY_PATH": libraries,
    }


def test_staging_leaves_the_wheel_as_it_was(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted(path for path in machine.wheel.rglob("*"))
    python = machine.find(monkeypatch).stage_backends(tmp_path / "backends") / "python"
    assert {path.name: path.read_text() for path in python.iterdir()} == {
        name: name for name in (triton.STUB, *triton.BACKEND_FILES)
    }
    assert stat.S_IMODE((python / triton.STUB).stat().st_mode) == 0o755
    assert sorted(path for path in machine.wheel.rglob("*")) == before


def test_wheel_is_not_installed(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.spec = None
    with pytest.raises(MissingExtraError) as caught:
        machine.find(monkeypatch)
    assert str(caught.value) == (
        "the Python package 'nvidia-pytriton' is not installed. Type: pip install 'trtkit[server]'"
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"machine": "aarch64"}, "Triton from PyPI runs on Linux x86_64 only, and this is Linux aarch64"),
        (
            {"version": Version(3, 13)},
            "Triton from PyPI has no usable stub for Python 3.13: it needs numpy<2, which has no wheel there. "
            "Use Python 3.11 or 3.12",
        ),
        (
            {"numpy": "2.4.0"},
            "numpy 2.4.0 is installed, and this Triton's stub reads numpy 2 arrays wrongly without an error. "
            "Type: pip install 'numpy<2'",
        ),
    ],
)
def test_machine_on_which_it_cannot_work(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, change: dict[str, object], said: str
) -> None:
    vars(machine).update(change)
    with pytest.raises(ServerError) as caught:
        machine.find(monkeypatch)
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("index", "said"),
    [
        (0, "nvidia-pytriton lacks this file. Type: pip install nvidia-pytriton==0.7.0"),
        (1, "nvidia-pytriton lacks this file. Type: pip install nvidia-pytriton==0.7.0"),
        (
            4,
            "Triton's model process needs the shared library libpython3.12.so.1.0, and this Python came without it. "
            "Type: apt-get install libpython3.12, or use a Python built with --enable-shared",
        ),
    ],
)
def test_missing_file(machine: Machine, monkeypatch: pytest.MonkeyPatch, index: int, said: str) -> None:
    machine.files[index].unlink()
    with pytest.raises(TrtkitError) as caught:
        machine.find(monkeypatch)
    assert str(caught.value).endswith(said)


def container(folder: Path, *, without: str | None = None) -> Path:
    """A folder laid out like /opt/tritonserver."""
    names = ["bin/tritonserver", *(f"backends/python/{name}" for name in (triton.STUB, *triton.BACKEND_FILES))]
    for name in (*names, "backends/identity/libtriton_identity.so"):
        if without is None or not name.endswith(without):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(name)
    return folder


@pytest.mark.parametrize("how", ["container", "variable"])
def test_a_containers_triton_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    folder = container(tmp_path / "opt")
    monkeypatch.setattr(triton, "CONTAINER", folder if how == "container" else tmp_path / "none")
    # what the wheel's needs is not asked for
    monkeypatch.setattr(triton, "sys", SimpleNamespace(executable="/usr/bin/python3"))
    monkeypatch.setattr(triton, "platform", SimpleNamespace())
    monkeypatch.setattr(triton, "importlib", SimpleNamespace())
    if how == "variable":
        monkeypatch.setenv(triton.VARIABLE, str(folder))
    else:
        monkeypatch.delenv(triton.VARIABLE, raising=False)
    found = triton.find()
    assert found.binary == folder / "bin/tritonserver"
    assert found.stage_backends(tmp_path / "staged") == folder / "backends"
    assert not (tmp_path / "staged").exists()
    assert found.environment({"PATH": "/bin", "LD_LIBRARY_PATH": "/cuda"}) == {
        "PATH": "/usr/bin:/bin",
        "LD_LIBRARY_PATH": "/cuda",
    }


def test_the_variable_goes_before_the_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton, "CONTAINER", container(tmp_path / "opt"))
    monkeypatch.setenv(triton.VARIABLE, str(container(tmp_path / "own")))
    assert triton.find().folder == tmp_path / "own"


@pytest.mark.parametrize("missing", ["tritonserver", triton.STUB])
def test_a_named_folder_that_is_no_triton(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    folder = container(tmp_path / "own", without=missing)
    monkeypatch.setenv(triton.VARIABLE, str(folder))
    with pytest.raises(ServerError, match="this Triton lacks this file") as caught:
        triton.find()
    assert caught.value.where is not None
    assert caught.value.where.endswith(missing)
    assert caught.value.hint == f"Set TRTKIT_TRITON to a folder like {triton.CONTAINER}, or unset it"


def test_a_container_without_the_python_backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(triton.VARIABLE, raising=False)
    monkeypatch.setattr(triton, "CONTAINER", container(tmp_path / "opt", without=".py"))
    with pytest.raises(ServerError, match="trtllm-python-py3"):
        triton.find()

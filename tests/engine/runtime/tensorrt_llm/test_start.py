"""What keeps a bundle from starting is one line that names what to do."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.fakes import trtllm
from toolkit.engine.bundle import Bundle
from toolkit.engine.runtime import open_engine
from toolkit.engine.runtime.protocol import Request, SamplingParams
from toolkit.engine.runtime.tensorrt_llm import api
from toolkit.errors import BundleError, CheckpointError, EngineError, RequestError, TrtkitError


def refusal(bundle: Bundle) -> TrtkitError:
    with pytest.raises(TrtkitError) as caught:
        open_engine(bundle)
    return caught.value


def broken_import(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, statement: str) -> None:
    package = tmp_path / "site" / "tensorrt_llm"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(statement)
    monkeypatch.syspath_prepend(package.parent)
    trtllm.forget(monkeypatch)


@pytest.mark.parametrize(
    ("statement", "what", "hint"),
    [
        (
            "raise ImportError(\"cannot import name 'PartReasoningText' from 'openai.types.responses'\")",
            "cannot import name 'PartReasoningText' from 'openai.types.responses'",
            "Type: pip install -U openai",
        ),
        (
            "import tensorrt_llm.bindings",
            "No module named 'tensorrt_llm.bindings'",
            "Do not start inside a TensorRT-LLM checkout; run in a container that has TensorRT-LLM",
        ),
        ("raise OSError('libcuda.so.1: cannot open\\n  shared object')", "libcuda.so.1: cannot open", None),
    ],
)
def test_a_package_that_cannot_be_imported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, statement: str, what: str, hint: str | None
) -> None:
    broken_import(monkeypatch, tmp_path, statement)
    error = refusal(trtllm.write_bundle(tmp_path / "bundle"))
    assert error.what == f"TensorRT-LLM is installed but cannot be imported: {what}"
    assert (error.where, error.hint) == (str(tmp_path / "bundle"), hint)


def test_a_folder_that_only_has_the_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "site" / "tensorrt_llm").mkdir(parents=True)
    monkeypatch.syspath_prepend(tmp_path / "site")
    trtllm.forget(monkeypatch)
    assert refusal(trtllm.write_bundle(tmp_path / "bundle")).what == (
        "TensorRT-LLM is installed but cannot be imported: a folder of that name that is no package comes first: "
        f"{tmp_path / 'site' / 'tensorrt_llm'}"
    )


@pytest.mark.parametrize(
    ("planned", "installed"),
    [("1.2.1", "1.2.0"), ("1.2.0", "1.2.1"), ("1.2.1", "1.2.1"), ("1.1.0", "1.1.0.post1"), ("1.2.1", "1.2.1+cu13")],
)
def test_releases_that_accept_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, planned: str, installed: str
) -> None:
    trtllm.install(monkeypatch, installed)
    open_engine(trtllm.write_bundle(tmp_path / "bundle", release=planned)).close()


def test_a_bundle_of_another_release_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    trtllm.install(monkeypatch, "1.2.1")
    assert str(refusal(trtllm.write_bundle(tmp_path / "bundle", release="1.1.0"))) == (
        f"{tmp_path / 'bundle'}: this bundle was planned for TensorRT-LLM 1.1.0, and 1.2.1 is installed. "
        "Run it where TensorRT-LLM is 1.1.0, or build it again: trtkit engine RECIPE --set target.release=1.2.1"
    )


def test_a_release_that_trtkit_does_not_know_is_not_named_to_build_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trtllm.install(monkeypatch, "9.0.0")
    error = refusal(trtllm.write_bundle(tmp_path / "bundle"))
    assert (error.what, error.hint) == (
        "this bundle was planned for TensorRT-LLM 1.2.1, and 9.0.0 is installed",
        "Run it where TensorRT-LLM is 1.2.1",
    )


def test_a_runtime_that_does_not_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    trtllm.install(monkeypatch)
    error = refusal(trtllm.write_bundle(tmp_path / "bundle", args={"no_such_argument": 1}))
    assert isinstance(error, EngineError)
    assert error.what == "TensorRT-LLM did not start: ValidationError: 1 validation error for TorchLlmArgs"
    assert error.where == str(tmp_path / "bundle")


@pytest.mark.parametrize(("text", "what"), [("a: [", "cannot read"), ("- a\n", "the LLM arguments are not a mapping")])
def test_damaged_arguments(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, what: str) -> None:
    trtllm.install(monkeypatch)
    bundle = trtllm.write_bundle(tmp_path / "bundle")
    (tmp_path / "bundle" / "llm_args.yaml").write_text(text)
    error = refusal(bundle)
    assert isinstance(error, BundleError)
    assert error.where == str(tmp_path / "bundle" / "llm_args.yaml")
    assert what in error.what


@pytest.mark.parametrize("size", ["many", True, 0, 1.5])
def test_a_vocabulary_without_a_size_starts_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, size: Any) -> None:
    trtllm.install(monkeypatch)
    import tensorrt_llm

    before = len(tensorrt_llm.LLM.made)
    error = refusal(trtllm.write_bundle(tmp_path / "bundle", config=json.dumps({"vocab_size": size})))
    assert isinstance(error, CheckpointError)
    assert error.what == f"vocab_size is {size!r}, not a number of tokens"
    assert error.where == str(tmp_path / "bundle" / "checkpoint" / "config.json")
    assert len(tensorrt_llm.LLM.made) == before


def test_a_compiled_engine_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    trtllm.install(monkeypatch)
    bundle = trtllm.write_bundle(tmp_path / "bundle")
    target = bundle.recipe.target.model_copy(update={"backend": "tensorrt"})
    compiled = Bundle(bundle.folder, bundle.manifest, bundle.recipe.model_copy(update={"target": target}))
    assert refusal(compiled).hint == "Build one: trtkit engine RECIPE --set target.backend=pytorch"


@pytest.mark.parametrize("cpp", [False, True])
def test_parameters_that_the_chosen_sampler_ignores(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cpp: bool) -> None:
    trtllm.install(monkeypatch)
    monkeypatch.setattr(api, "ignored_by_sampler", lambda package: frozenset({"repetition_penalty"}))
    args = {"sampler_type": "TRTLLMSampler"} if cpp else {}
    engine = open_engine(trtllm.write_bundle(tmp_path / "bundle", args=args))

    async def run() -> int:
        request = Request("a", (97,), SamplingParams(max_tokens=2, repetition_penalty=1.5))
        return len([event async for event in engine.submit(request)])

    if cpp:
        assert asyncio.run(run()) == 2
    else:
        with pytest.raises(RequestError, match="ignores repetition_penalty"):
            asyncio.run(run())
    engine.close()


class World:
    """mpi4py's COMM_WORLD of two ranks; the second one's executor gives way at once."""

    @staticmethod
    def Get_size() -> int:
        return 2


class MPICommExecutor:
    entered: list[Any] = []  # noqa: RUF012

    def __init__(self, comm: Any) -> None:
        self.comm = comm

    def __enter__(self) -> None:
        self.entered.append(self.comm)

    def __exit__(self, *error: object) -> None:
        self.entered.append("left")


def under_mpirun(monkeypatch: pytest.MonkeyPatch, rank: int) -> None:
    trtllm.install(monkeypatch)
    import tensorrt_llm._utils
    import tensorrt_llm.llmapi

    monkeypatch.setattr(tensorrt_llm._utils, "global_mpi_rank", lambda: rank)
    monkeypatch.setattr(tensorrt_llm._utils, "global_mpi_size", lambda: 2)
    monkeypatch.setattr(tensorrt_llm.llmapi, "MpiCommSession", lambda **kwargs: kwargs, raising=False)
    for name, attributes in (("MPI", {"COMM_WORLD": World}), ("futures", {"MPICommExecutor": MPICommExecutor})):
        module = ModuleType(f"mpi4py.{name}")
        vars(module).update(attributes)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(sys.modules, "mpi4py", ModuleType("mpi4py"))


def test_rank_0_hands_over_a_session_of_all_ranks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    under_mpirun(monkeypatch, 0)
    import tensorrt_llm

    started: list[dict[str, Any]] = []
    real = tensorrt_llm.LLM

    def llm(*, _mpi_session: Any, **kwargs: Any) -> Any:
        started.append(_mpi_session)
        return real(**kwargs)

    monkeypatch.setattr(tensorrt_llm, "LLM", llm)
    open_engine(trtllm.write_bundle(tmp_path / "bundle")).close()
    assert started == [{"comm": World, "n_workers": 2}]


def test_another_rank_works_until_rank_0_ends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    under_mpirun(monkeypatch, 1)
    error = refusal(trtllm.write_bundle(tmp_path / "bundle"))
    assert error.what == "rank 1 of 2 has worked for rank 0, which has ended"
    assert MPICommExecutor.entered == [World, "left"]

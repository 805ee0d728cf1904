from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes import trtllm
from toolkit.engine.runtime.tensorrt_llm import api


def test_what_is_found_of_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    trtllm.install(monkeypatch, "1.3.0rc20")
    found = api.load()
    import tensorrt_llm

    assert (found.version, found.llm, found.sampling_params) == (
        "1.3.0rc20",
        tensorrt_llm.LLM,
        tensorrt_llm.SamplingParams,
    )
    assert found.fields is not None
    assert {"skip_tokenizer_init", "max_batch_size"} <= found.fields
    assert found.expand({"a": {"b": 1}}) == {"a": {"b": 1}}
    assert found.ignored == frozenset()


def test_a_package_with_less_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    trtllm.install(monkeypatch)
    package = tmp_path / "tensorrt_llm"
    package.mkdir()
    (package / "__init__.py").write_text("__version__ = '1.2.1'\nLLM, SamplingParams = dict, dict\n")
    monkeypatch.syspath_prepend(tmp_path)
    found = api.load()
    assert (found.fields, found.expand({"a": 1}), found.ignored) == (None, {"a": 1}, frozenset())


@pytest.mark.parametrize(
    ("files", "ignored"),
    [
        ({"sampling_utils.py": "x.temperature\nx.min_p_decay"}, set(api.OPTIONAL)),
        (
            {"sampler.py": "x.repetition_penalty", "sampling_utils.py": "take(min_p=0.5)"},
            {"presence_penalty", "frequency_penalty"},
        ),
        (
            {"sampler.py": "for x in y: x.frequency_penalty = getattr(y, 'presence_penalty', 0)"},
            {"min_p", "repetition_penalty"},
        ),
        ({"sampler/penalties.py": "\n".join(f"x.{name}" for name in api.OPTIONAL)}, set()),
        ({"sampler.py": f'"""Has no {" and no ".join(api.OPTIONAL)}."""'}, set(api.OPTIONAL)),
        ({"sampler.py": f"pass  # x.{', x.'.join(api.OPTIONAL)}: later"}, set(api.OPTIONAL)),
        ({"sampler.py": "raise ValueError('min_p')\nclass Config:\n    min_p: float"}, set(api.OPTIONAL)),
        ({"sampler.py": "x.min_p (", "sampling_utils.py": "x.min_p"}, set(api.OPTIONAL) - {"min_p"}),
        ({"scheduler.py": "nothing of it"}, set()),
    ],
)
def test_parameters_that_the_samplers_sources_never_use(
    tmp_path: Path, files: dict[str, str], ignored: set[str]
) -> None:
    for name, text in files.items():
        path = tmp_path / "_torch/pyexecutor" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert api.ignored_by_sampler(tmp_path) == ignored

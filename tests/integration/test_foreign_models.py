"""Our client on replicas of NVIDIA's two models, and a client written for NVIDIA's on our model; the real Triton."""

from __future__ import annotations

import asyncio
import json
import queue
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as nvidia
from click.testing import CliRunner

from toolkit import recipe as recipes
from toolkit.checkpoint.census import take_census
from toolkit.checkpoint.source import Checkpoint
from toolkit.cli import main
from toolkit.engine.build import build
from toolkit.engine.runtime.protocol import SamplingParams
from toolkit.errors import ClientError, UnsupportedError
from toolkit.plan import make_plan
from toolkit.serving.client import Chunk, Deadlines, SyncTritonClient, TritonClient
from toolkit.serving.completion import Completion, collect
from toolkit.serving.repository import render
from toolkit.serving.server import Server

pytestmark = [pytest.mark.triton, pytest.mark.usefixtures("real_triton")]

MODELS = Path(__file__).parents[1] / "fakes" / "triton_models"
PATIENT = Deadlines(total_s=30)
# the replica of llmapi three times: as it should be, with its own switch alone off, and with both off
LLMAPI, UNWILLING, ONCE = "tensorrt_llm", "llmapi_unwilling", "llmapi_once"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("foreign") / "repository"
    shutil.copytree(MODELS / "ensemble" / "ensemble", folder / "ensemble")
    for name in (LLMAPI, UNWILLING, ONCE):
        shutil.copytree(MODELS / "llmapi" / "tensorrt_llm", folder / name)
        config = folder / name / "config.pbtxt"
        text = config.read_text().replace('name: "tensorrt_llm"', f'name: "{name}"')
        if name != LLMAPI:
            text = text.replace('string_value: "true"', 'string_value: "false"')
        if name == ONCE:
            text = text.replace("decoupled: true", "decoupled: false")
        config.write_text(text)
    started = Server.start(folder)
    yield started.grpc_url
    started.stop(grace_s=0)


def chunks_of(url: str, model: str, prompt: str, **options: Any) -> list[Chunk]:
    options = {"sampling": SamplingParams(max_tokens=4), "deadlines": PATIENT, **options}
    with SyncTritonClient(url, model=model) as client:
        return list(client.generate(prompt, **options))


def complete(url: str, model: str, prompt: str, **options: Any) -> Completion:
    async def run() -> Completion:
        async with TritonClient(url, model=model) as client:
            options.setdefault("sampling", SamplingParams(max_tokens=4))
            return await collect(client.generate(prompt, deadlines=PATIENT, **options), lambda delta: None)

    return asyncio.run(run())


def inputs_seen(url: str, model: str, **options: Any) -> dict[str, list[str]]:
    """The inputs that the model says it was sent."""
    sampling = SamplingParams(max_tokens=64, **options.pop("sampling", {}))
    seen: dict[str, list[str]] = json.loads(complete(url, model, "?", sampling=sampling, **options).text)
    return seen


@pytest.mark.parametrize("model", [LLMAPI, "ensemble"])
def test_deltas_whatever_the_model_streams(url: str, model: str) -> None:
    chunks = chunks_of(url, model, "ab")
    assert [chunk.text for chunk in chunks if chunk.text] == ["c", "d", "e", "f"]
    assert {chunk.token_ids for chunk in chunks} == {()}


@pytest.mark.parametrize("model", [UNWILLING, ONCE])
def test_model_that_does_not_stream_gives_one_answer(url: str, model: str) -> None:
    for _ in range(2):
        [chunk] = chunks_of(url, model, "ab")
        assert (chunk.text, chunk.finish_reason, chunk.stop_reason) == ("cdef", "length", None)


def test_llmapi_reasons(url: str) -> None:
    chunks = chunks_of(url, LLMAPI, "ab")
    assert [chunk.finish_reason for chunk in chunks] == [None, None, None, "length"]
    stopped = complete(url, LLMAPI, "ab", stop=("e", "zz"))
    assert (stopped.text, stopped.finish_reason, stopped.stop_reason) == ("cd", "stop", "e")


def test_llmapi_incomplete_characters_are_held_back(url: str) -> None:
    assert [chunk.text for chunk in chunks_of(url, LLMAPI, "éa")] == ["", "é", "", "é"]


def test_ensemble_counts(url: str) -> None:
    completion = complete(url, "ensemble", "ab")
    assert (completion.text, completion.prompt_tokens, completion.output_tokens) == ("cdef", 2, 4)
    assert (completion.finish_reason, completion.stop_reason) == (None, None)
    assert complete(url, "ensemble", "ab", stop=("d",)).text == "cd"


def test_llmapi_gets_greedy_said_outright(url: str) -> None:
    assert inputs_seen(url, LLMAPI, request_id="r") == {
        "text_input": ["b'?'"],
        "streaming": ["True"],
        "sampling_param_max_tokens": ["64"],
        "sampling_param_exclude_input_from_output": ["True"],
        "sampling_param_top_k": ["1"],
        "return_finish_reason": ["True"],
        "return_stop_reason": ["True"],
    }


def test_ensemble_gets_sampling_said_outright(url: str) -> None:
    sampling = {"temperature": 0.5, "seed": 2**63, "min_tokens": 2, "repetition_penalty": 1.5}
    assert inputs_seen(url, "ensemble", sampling=sampling, stop=("x", "é")) == {
        "text_input": ["b'?'"],
        "stream": ["True"],
        "max_tokens": ["64"],
        "exclude_input_in_output": ["True"],
        "temperature": ["0.5"],
        "top_k": ["0"],
        "top_p": ["1.0"],
        "seed": [str(2**63)],
        "min_tokens": ["2"],
        "repetition_penalty": ["1.5"],
        "stop_words": ["b'x'", "b'\\xc3\\xa9'"],
        "return_num_input_tokens": ["True"],
        "return_num_output_tokens": ["True"],
    }


@pytest.mark.parametrize("model", [LLMAPI, "ensemble"])
def test_what_the_model_cannot_take(url: str, model: str) -> None:
    with pytest.raises(UnsupportedError, match=rf"^model '{model}' takes no logprobs\. Leave it out$"):
        complete(url, model, "a", sampling=SamplingParams(logprobs=1))


def test_errors_in_the_model_s_own_words(url: str) -> None:
    with pytest.raises(ClientError, match=r"^Error generating request: string index out of range$"):
        complete(url, LLMAPI, "")


@pytest.mark.parametrize("model", [LLMAPI, UNWILLING, ONCE, "ensemble"])
def test_probe(url: str, model: str) -> None:
    with SyncTritonClient(url, model=model) as client:
        client.probe(20)


@pytest.mark.parametrize("model", [LLMAPI, ONCE, "ensemble"])
def test_batch(url: str, model: str, tmp_path: Path) -> None:
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(f'{{"prompt": "{letter}", "max_tokens": 3}}\n' for letter in "abcdefgh"))
    arguments = ["batch", str(source), str(output), "--url", url, "--model", model, "--concurrency", "4"]
    result = CliRunner().invoke(main, arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    texts = [json.loads(line)["text"] for line in output.read_text().splitlines()]
    assert texts == ["bcd", "cde", "def", "efg", "fgh", "ghi", "hij", "ijk"]


# A client of NVIDIA's llmapi model on ours: tritonclient alone, the names of its config.pbtxt, as
# benchmark_core_model.py --test-llmapi sends them.


@pytest.fixture(scope="module")
def own_url(root: Path, sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The sample served by us."""
    folder = tmp_path_factory.mktemp("own")
    recipe = recipes.load(root / "recipes/tiny-gpt-oss/cpu.yaml", [f"engine.output={folder / 'bundle'}"])
    with Checkpoint.open(sample) as source:
        bundle = build(recipe, make_plan(recipe, take_census(source)), source).bundle
    started = Server.start(render(bundle, folder / "repository"))
    yield started.grpc_url
    started.stop(grace_s=0)


def llmapi_inputs(prompt: str, **values: Any) -> list[Any]:
    """Tensors by the names of llmapi's config.pbtxt, where sampling parameters have a prefix."""
    kinds = {
        bool: ("BOOL", np.bool_),
        int: ("INT32", np.int32),
        float: ("FP32", np.float32),
        str: ("BYTES", np.object_),
    }
    inputs = []
    for name, value in {"text_input": prompt, **values}.items():
        items = value if isinstance(value, list) else [value]
        datatype, kind = kinds[type(items[0])]
        array = np.array([item.encode() if isinstance(item, str) else item for item in items], kind)
        inputs.append(nvidia.InferInput(name, array.shape, datatype))
        inputs[-1].set_data_from_numpy(array)
    return inputs


class LlmapiClient:
    """One stream of NVIDIA's client; keeps the answers to each request until its final one."""

    def __init__(self, url: str) -> None:
        self._client = nvidia.InferenceServerClient(url)
        self._answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
        self._client.start_stream(lambda result, error: self._answers.put((result, error)), stream_timeout=30)

    def __enter__(self) -> LlmapiClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.stop_stream(cancel_requests=True)
        self._client.close()

    def send(self, request_id: str, prompt: str, **values: Any) -> None:
        inputs = llmapi_inputs(prompt, **values)
        self._client.async_stream_infer("tensorrt_llm", inputs, request_id=request_id, enable_empty_final_response=True)

    def next(self) -> tuple[Any, Any]:
        """Result and error of the next answer."""
        return self._answers.get(timeout=30)

    def texts(self) -> tuple[list[str], Any]:
        """The texts up to the final response, and that response."""
        texts: list[str] = []
        while True:
            result, error = self.next()
            assert error is None
            texts += [text.decode() for text in result.as_numpy("text_output")]
            if result.get_response().parameters["triton_final_response"].bool_param:
                return texts, result


PROMPT = "The file object"


def test_llmapi_client_gets_prompt_and_completion_in_one_answer(own_url: str) -> None:
    own = complete(own_url, "tensorrt_llm", PROMPT, sampling=SamplingParams(max_tokens=8))
    with LlmapiClient(own_url) as client:
        client.send("7", PROMPT, sampling_param_max_tokens=8)
        texts, last = client.texts()
    assert texts == [PROMPT + own.text]
    assert last.get_response().id == "7"


def test_llmapi_client_streams(own_url: str) -> None:
    own = complete(own_url, "tensorrt_llm", PROMPT, sampling=SamplingParams(max_tokens=6))
    with LlmapiClient(own_url) as client:
        client.send(
            "s",
            PROMPT,
            streaming=True,
            sampling_param_max_tokens=6,
            sampling_param_temperature=0.5,
            sampling_param_top_k=1,
            sampling_param_top_p=1.0,
            sampling_param_frequency_penalty=0.0,
            sampling_param_presence_penalty=0.0,
            sampling_param_best_of=1,
            sampling_param_exclude_input_from_output=True,
            return_finish_reason=True,
            return_stop_reason=True,
            return_cumulative_logprob=True,
        )
        texts, last = client.texts()
    assert "".join(texts) == own.text
    assert len(texts) > 1
    assert list(last.as_numpy("finish_reason")) == [b"length"]
    assert last.as_numpy("cumulative_logprob")[0] < 0


def test_llmapi_client_stops_at_a_string(own_url: str) -> None:
    whole = complete(own_url, "tensorrt_llm", PROMPT, sampling=SamplingParams(max_tokens=8)).text
    with LlmapiClient(own_url) as client:
        client.send("x", PROMPT, streaming=True, sampling_param_max_tokens=8, sampling_param_stop=[whole[5:8]])
        texts, _ = client.texts()
    assert "".join(texts) == PROMPT + whole[:5]


def test_llmapi_client_stops_a_request_by_its_id(own_url: str) -> None:
    with LlmapiClient(own_url) as client:
        client.send("long", PROMPT, streaming=True, sampling_param_max_tokens=1900)
        client.next()
        client.send("long", "", stop=True)
        ended, answered = None, False
        while ended is None or not answered:
            result, error = client.next()
            if error is not None:
                ended = error.message()
            elif result.get_response().parameters["triton_final_response"].bool_param:
                answered = True
        client.send("next", PROMPT, sampling_param_max_tokens=2)
        texts, _ = client.texts()
    assert "cancelled" in ended
    assert texts[0].startswith(PROMPT)

from __future__ import annotations

import shlex
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.errors import PlanError
from toolkit.trtllm.flag_table import Command, Flag, load_flags
from toolkit.trtllm.flags import check_flags

RELEASES = ("1.0.0", "1.1.0", "1.2.1", "1.3.0rc0", "1.3.0rc20", "1.3.0rc21", "1.4.0rc1")


def check(release: str, line: str) -> tuple[str, ...]:
    argv = shlex.split(line)
    return check_flags(argv[0], release, argv)  # type: ignore[arg-type]


def refusal(release: str, line: str) -> str:
    with pytest.raises(PlanError) as caught:
        check(release, line)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.mark.parametrize(
    ("release", "line"),
    [
        ("1.0.0", "trtllm-serve MODEL --tp_size 8 --ep_size 8 --kv_cache_free_gpu_memory_fraction 0.9"),
        ("1.1.0", "trtllm-serve MODEL --host 0.0.0.0 --port 8000 --extra_llm_api_options f.yaml"),
        ("1.2.1", "trtllm-serve serve MODEL --config f.yaml --free_gpu_memory_fraction=0.9 --trust_remote_code"),
        ("1.2.1", "trtllm-serve MODEL --backend trt"),
        ("1.3.0rc7", "trtllm-serve MODEL --kv_cache_dtype fp8 --served_model_name m"),
        ("1.3.0rc21", "trtllm-serve --hf_revision main -- MODEL"),
        ("1.2.1", "trtllm-serve disaggregated -c f.yaml --whatever"),
        ("1.0.0", "trtllm-bench -m M --model_path D throughput --dataset d --concurrency -1 --enable_chunked_context"),
        ("1.1.0", "trtllm-bench --model M throughput --disable_chunked_context --sampler_options s.yaml"),
        ("1.2.1", "trtllm-bench --model M latency --concurrency 1 --report_json r.json"),
        ("1.2.1", "trtllm-bench --model M build -tp 2 -q NVFP4 --dataset d"),
        ("1.2.1", "trtllm-bench --model M prepare-dataset --output f --rand-task-id 0 3 token-unif-dist --input-min 1"),
        ("1.3.0rc24", "trtllm-bench --no-telemetry --model M throughput --config f.yaml"),
        ("1.2.1", "trtllm-build --checkpoint_dir c --output_dir o --gemm_plugin nvfp4 --lora_dir a b --workers 2"),
        ("1.2.1", "trtllm-build --checkpoint c --max_seq 2048"),
        ("1.2.1", "trtllm-build --help"),
    ],
)
def test_what_the_release_takes(release: str, line: str) -> None:
    assert check(release, line) == ()


@pytest.mark.parametrize(
    ("release", "line", "message"),
    [
        (
            "1.2.1",
            "trtllm-bench --model M throughput --tp_size 2",
            "trtllm-bench throughput --tp_size: trtllm-bench throughput of TensorRT-LLM 1.2.1 has no flag '--tp_size'. "
            "Write --tp",
        ),
        (
            "1.2.1",
            "trtllm-build --checkpoint-dir c",
            "trtllm-build --checkpoint-dir: trtllm-build of TensorRT-LLM 1.2.1 has no flag '--checkpoint-dir'. "
            "Did you mean --checkpoint_dir?",
        ),
        (
            "1.2.1",
            "trtllm-build --checkpoint_dir c --dtype fp4",
            "trtllm-build --dtype: trtllm-build of TensorRT-LLM 1.2.1 has no flag '--dtype'. "
            "Give it to convert_checkpoint.py (float16, bfloat16, float32); "
            "the build takes the precision from the checkpoint's config.json",
        ),
        (
            "1.3.0rc21",
            "trtllm-build --checkpoint_dir c",
            "trtllm-build: TensorRT-LLM 1.3.0rc21 no longer has trtllm-build (removed in 1.3.0rc21). "
            "Leave it out: the TensorRT backend is gone (#15918); "
            "the PyTorch backend of trtllm-serve loads the checkpoint itself",
        ),
        (
            "1.1.0",
            "trtllm-serve MODEL --config f",
            "trtllm-serve --config: trtllm-serve of TensorRT-LLM 1.1.0 does not have --config yet. "
            "Write --extra_llm_api_options (#9104 (2025-11), serve.py @00209af)",
        ),
        (
            "1.2.1",
            "trtllm-serve MODEL --kv_cache_dtype fp8",
            "trtllm-serve --kv_cache_dtype: trtllm-serve of TensorRT-LLM 1.2.1 does not have --kv_cache_dtype yet. "
            "Leave it out, or take release 1.3.0rc7 or later (#11487 and #11711, release notes 1.3.0rc7)",
        ),
        (
            "1.2.1",
            "trtllm-serve MODEL --backend torch",
            "trtllm-serve --backend: trtllm-serve of TensorRT-LLM 1.2.1 does not take 'torch' for --backend. "
            "Did you mean pytorch? It takes pytorch, _autodeploy, tensorrt, trt (serve.py @00209af; "
            "trtllm_serve_cli.yaml @029e223; TensorRT backend gone after 1.3.0rc20 (#15918))",
        ),
        (
            "1.1.0",
            "trtllm-bench --model M prepare-dataset",
            "trtllm-bench prepare-dataset: TensorRT-LLM 1.1.0 does not have trtllm-bench prepare-dataset yet "
            "(added in 1.2.0). Run benchmarks/cpp/prepare_dataset.py of the release's source",
        ),
        # as docs/source/developer-guide/perf-overview.md @03e27c7 prints it
        (
            "1.2.1",
            "trtllm-bench --tp 2 --model M throughput",
            "trtllm-bench --tp: trtllm-bench of TensorRT-LLM 1.2.1 has no flag '--tp'. "
            "Write it after the subcommand (throughput, latency)",
        ),
        (
            "1.2.1",
            "trtllm-bench throughput --model M",
            "trtllm-bench throughput --model: trtllm-bench throughput of TensorRT-LLM 1.2.1 has no flag '--model'. "
            "Write it before the subcommand",
        ),
        (
            "1.2.1",
            "trtllm-bench --model M thruput",
            "trtllm-bench thruput: trtllm-bench has no subcommand 'thruput'. Did you mean throughput?",
        ),
        (
            "1.1.0",
            "trtllm-bench --model M x",
            "trtllm-bench x: trtllm-bench has no subcommand 'x'. Known: throughput, latency, build",
        ),
        (
            "1.2.1",
            "trtllm-serve MODEL OTHER",
            "trtllm-serve OTHER: trtllm-serve takes 1 argument without a flag. Type: trtllm-serve --help",
        ),
        (
            "1.2.1",
            "trtllm-build c",
            "trtllm-build c: trtllm-build takes no argument without a flag. Type: trtllm-build --help",
        ),
        (
            "1.2.1",
            "trtllm-serve MODEL --port",
            "trtllm-serve --port: --port of trtllm-serve needs a value. Write --port VALUE",
        ),
        (
            "1.2.1",
            "trtllm-serve MODEL --trust_remote_code=true",
            "trtllm-serve --trust_remote_code: --trust_remote_code of trtllm-serve takes no value. "
            "Write --trust_remote_code alone",
        ),
    ],
)
def test_a_refusal_names_the_right_one(release: str, line: str, message: str) -> None:
    assert refusal(release, line) == message


def test_an_ambiguous_beginning_is_no_flag() -> None:
    assert "has no flag '--max'" in refusal("1.2.1", "trtllm-build --max 3")


def test_a_deprecated_flag_is_taken_with_a_note() -> None:
    line = "trtllm-serve MODEL --cluster_size 1"
    assert check("1.2.1", line) == ()
    assert check("1.3.0rc7", line) == ("trtllm-serve --cluster_size is deprecated in trtllm_serve_cli.yaml @9e7f85f",)


def test_an_unknown_tool_is_refused() -> None:
    assert refusal("1.2.1", "trtllm-eval x") == (
        "command line: unknown tool 'trtllm-eval'. Known: trtllm-serve, trtllm-bench, trtllm-build"
    )


def lines(tool: str, command: Command, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Command, Flag]]:
    for flag in command.flags():
        yield (tool, *above), command, flag
    for name, sub in command.commands.items():
        yield from lines(tool, sub, (*above, name))


ALL = [line for tool, command in load_flags().tools.items() for line in lines(tool, command)]


@pytest.mark.parametrize("release", RELEASES)
def test_every_flag_is_taken_in_its_releases_and_in_no_other(release: str) -> None:
    for path, command, flag in ALL:
        tool = load_flags().tools[path[0]]
        whole = [tool]
        for name in path[1:]:
            whole.append(whole[-1].commands[name])
        exists = all(part.covers(release) for part in whole) and flag.span.covers(release)
        values = {"nothing": 0, "value": 1, "two": 2, "many": 1}[flag.takes]
        for name in flag.names:
            words = command.values[name].of(release) if name in command.values else ("1",)
            argv = [*path, name, *words[:1] * values]
            if exists:
                check_flags(path[0], release, argv)  # type: ignore[arg-type]
            else:
                refusal(release, shlex.join(argv))


def test_every_misspelling_listed_is_refused_by_name() -> None:
    for path, command, _ in ALL:
        for wrong, right in command.means.items():
            assert refusal("1.2.1", shlex.join([*path, wrong, "1"])).endswith(right)


WORDS = st.one_of(
    st.sampled_from(sorted({name for _, _, flag in ALL for name in flag.names})),
    st.sampled_from(sorted({part for path, _, _ in ALL for part in path})),
    st.text(max_size=8),
    st.text(max_size=4).map("--".__add__),
)


@given(
    tool=st.sampled_from(["trtllm-serve", "trtllm-bench", "trtllm-build"]),
    release=st.sampled_from(RELEASES),
    argv=st.lists(WORDS, max_size=6),
)
def test_whatever_is_typed_is_one_line_or_fine(tool: str, release: str, argv: list[str]) -> None:
    try:
        shown = check_flags(tool, release, argv)  # type: ignore[arg-type]
    except PlanError as error:
        shown = (str(error),)
    assert all(len(line.splitlines()) == 1 for line in shown)

from __future__ import annotations

import re

import pytest

from toolkit.trtllm.tuned import Entry, Parallel, entries, find

BLACKWELL, HOPPER, WORKSTATION = 100, 90, 120


def test_every_source_is_a_path_at_a_commit() -> None:
    assert all(re.fullmatch(r"(examples|docs)/\S+ @[0-9a-f]{7}(, .+)?", entry.source) for entry in entries())


def test_no_source_is_listed_twice() -> None:
    sources = [entry.source for entry in entries()]
    assert len(set(sources)) == len(sources)


@pytest.mark.parametrize(
    "entry", [entry for entry in entries() if entry.family == "gpt-oss"], ids=lambda entry: entry.source
)
def test_gpt_oss_serves_nvfp4_exactly_where_the_loader_has_the_kernel_and_the_split(entry: Entry) -> None:
    nvfp4 = "nvfp4" in entry.also
    tp, ep, _ = entry.parallel
    backend = entry.args["moe_config"]["backend"]
    assert nvfp4 == (backend == "TRTLLM" and (2880 // (tp // ep)) % 16 == 0)


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.source)
def test_a_database_entry_says_the_workload_of_its_file_name(entry: Entry) -> None:
    name = re.search(r"/(\d)k(\d)k_tp(\d+)_conc(\d+)\.yaml", entry.source)
    workload = (entry.isl, entry.osl, entry.parallel.tp, entry.concurrency)
    if name is None:
        assert workload[0] is workload[1] is workload[3] is None
    else:
        isl, osl, tp, concurrency = map(int, name.groups())
        assert workload == (isl * 1024, osl * 1024, tp, concurrency)


def test_the_first_of_equals_is_taken_without_layout_and_environment() -> None:
    found = find("gpt-oss", "gpt-oss-120b", BLACKWELL, "throughput", weights="nvfp4", tp=2)
    assert found is not None
    assert found.parallel == Parallel(tp=2, ep=2, attention_dp=True)
    assert found.args == {
        "max_batch_size": 720,
        "max_num_tokens": 16384,
        "trust_remote_code": True,
        "cuda_graph_config": {"enable_padding": True, "max_batch_size": 720},
        "moe_config": {"backend": "TRTLLM"},
        "stream_interval": 20,
        "num_postprocess_workers": 4,
        "attention_dp_config": {"enable_balance": True, "batching_wait_iters": 50, "timeout_iters": 1},
    }
    assert found.env == {}
    assert found.source == "examples/configs/curated/gpt-oss-120b-throughput.yaml @25f307e"
    assert found.note == "tuned with MXFP4 weights, not NVFP4"


def test_the_environment_is_text() -> None:
    found = find("gpt-oss", "gpt-oss-120b", BLACKWELL, "latency", weights="mxfp4", tp=1)
    assert found is not None
    assert found.env == {"TRTLLM_ENABLE_PDL": "1", "NCCL_GRAPH_REGISTER": "0"}
    assert found.note == "for 1024 tokens in, 1024 out at concurrency 4"


def test_the_kv_fraction_stands_in_its_section() -> None:
    found = find("gpt-oss", "gpt-oss-120b", BLACKWELL, "latency", weights="mxfp4", tp=8)
    assert found is not None
    assert found.parallel == Parallel(tp=8, ep=1, attention_dp=False)
    assert found.args["kv_cache_config"] == {"free_gpu_memory_fraction": 0.9}
    assert "kv_cache_free_gpu_memory_fraction" not in found.args


@pytest.mark.parametrize("profile", ["latency", "throughput"])
def test_hopper_gets_triton_kernels_and_no_nvfp4(profile: str) -> None:
    found = find("gpt-oss", "gpt-oss-120b", HOPPER, profile, weights="mxfp4", tp=1)  # type: ignore[arg-type]
    assert found is not None
    assert found.args["moe_config"] == {"backend": "TRITON"}
    assert find("gpt-oss", "gpt-oss-120b", HOPPER, profile, weights="nvfp4") is None  # type: ignore[arg-type]


def test_nvfp4_never_gets_moe_tensor_parallel_8() -> None:
    found = find("gpt-oss", "gpt-oss-120b", BLACKWELL, "latency", weights="nvfp4", tp=8)
    assert found is not None
    assert found.parallel == Parallel(tp=8, ep=8, attention_dp=False)


def test_nvidia_published_none_for_gpt_oss_on_workstation_blackwell() -> None:
    assert find("gpt-oss", "gpt-oss-20b", WORKSTATION, "throughput") is None


def test_another_size_and_layout_is_taken_and_said() -> None:
    found = find("llama", "llama-3.1-8b", WORKSTATION, "throughput", weights="nvfp4", tp=2)
    assert found is not None
    assert found.source == "examples/configs/curated/llama-3.3-70b.yaml @25a0210"
    assert found.note == (
        "published for llama-3.3-70b; tuned with FP8 weights, not NVFP4; published for tensor parallel size 1"
    )


def test_a_family_without_a_latency_configuration_has_none() -> None:
    assert find("qwen3-moe", "qwen3-30b-a3b", BLACKWELL, "latency") is None


def test_attention_dp_counts_after_model_and_tensor_parallel_size() -> None:
    """At tp 2 the first file has attention DP, at tp 8 for MXFP4 another one has."""
    plain = find("gpt-oss", "gpt-oss-120b", BLACKWELL, "throughput", weights="nvfp4", tp=2, attention_dp=False)
    assert plain is not None
    assert plain.parallel == Parallel(tp=2, ep=2, attention_dp=False)
    assert "attention DP" not in plain.note
    with_dp = find("gpt-oss", "gpt-oss-120b", BLACKWELL, "throughput", weights="mxfp4", tp=4, attention_dp=True)
    assert with_dp is not None
    assert with_dp.parallel == Parallel(tp=4, ep=4, attention_dp=True)
    assert "attention_dp_config" in with_dp.args


def test_without_attention_dp_its_section_is_left_out_and_the_difference_said() -> None:
    found = find("gpt-oss", "gpt-oss-120b", BLACKWELL, "throughput", weights="mxfp4", tp=8, attention_dp=False)
    assert found is not None
    assert found.parallel == Parallel(tp=8, ep=8, attention_dp=True)
    assert "attention_dp_config" not in found.args
    assert "published with attention DP" in found.note
    other = find("gpt-oss", "gpt-oss-120b", BLACKWELL, "latency", weights="nvfp4", tp=8, attention_dp=True)
    assert other is not None
    assert "published without attention DP" in other.note

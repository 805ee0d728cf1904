from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.errors import PlanError
from toolkit.trtllm import tuned
from toolkit.trtllm.arguments import check_llm_args
from toolkit.trtllm.catalog import load_catalog

RELEASES = ("1.0.0", "1.1.0", "1.2.0", "1.2.1", "1.3.0rc0", "1.3.0rc20", "1.3.0rc21", "1.3.0rc29", "1.4.0rc1")
MOE_KEYS = "backend, max_num_tokens, load_balancer, disable_finalize_fusion, use_low_precision_moe_combine"


def refusal(release: str, args: dict[str, object]) -> str:
    with pytest.raises(PlanError) as caught:
        check_llm_args(release, args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("release", [release for release in RELEASES if release >= "1.2"])
@pytest.mark.parametrize("entry", tuned.entries(), ids=lambda entry: entry.source)
def test_every_published_configuration_is_accepted(entry: tuned.Entry, release: str) -> None:
    doubtful = [f"engine.llm_args.{tuned.TOP_LEVEL_FRACTION}"] if tuned.TOP_LEVEL_FRACTION in entry.args else []
    assert [note.split(" ", 1)[0] for note in check_llm_args(release, entry.args)] == doubtful


@pytest.mark.parametrize(
    ("release", "args", "line"),
    [
        (
            "1.2.1",
            {"cuda_graph_config": {"padding_enabled": True}},
            "engine.llm_args.cuda_graph_config.padding_enabled: TensorRT-LLM 1.2.1 has no LLM argument "
            "cuda_graph_config.padding_enabled. "
            "Write cuda_graph_config.enable_padding (release notes 1.0, API changes)",
        ),
        (
            "1.0.0",
            {"autotuner_enabled": True},
            "engine.llm_args.autotuner_enabled: TensorRT-LLM 1.0.0 has no LLM argument autotuner_enabled. "
            "Write enable_autotuner (release notes 1.0, API changes)",
        ),
        (
            "1.0.0",
            {"mixed_sampler": True},
            "engine.llm_args.mixed_sampler: TensorRT-LLM 1.0.0 has no LLM argument mixed_sampler. "
            "Write enable_mixed_sampler (release notes 1.0, API changes)",
        ),
        (
            "1.2.1",
            {"max_batch_sise": 8},
            "engine.llm_args.max_batch_sise: TensorRT-LLM 1.2.1 has no LLM argument max_batch_sise. "
            "Did you mean max_batch_size?",
        ),
        (
            "1.2.1",
            {"kv_cache_config": {"max_batch_size": 8}},
            "engine.llm_args.kv_cache_config.max_batch_size: TensorRT-LLM 1.2.1 has no LLM argument "
            "kv_cache_config.max_batch_size. Write max_batch_size",
        ),
        (
            "1.2.1",
            {"enable_padding": True},
            "engine.llm_args.enable_padding: TensorRT-LLM 1.2.1 has no LLM argument enable_padding. "
            "Write cuda_graph_config.enable_padding",
        ),
        (
            "1.2.1",
            {"moe_config": {"zzz": 1}},
            "engine.llm_args.moe_config.zzz: TensorRT-LLM 1.2.1 has no LLM argument moe_config.zzz. "
            f"Known here: {MOE_KEYS}",
        ),
        (
            "1.2.1",
            {"moe_config": "TRTLLM"},
            f"engine.llm_args.moe_config: moe_config holds keys, not 'TRTLLM'. Known here: {MOE_KEYS}",
        ),
        (
            "1.2.1",
            {"max_batch_size": {"a": 1}},
            "engine.llm_args.max_batch_size: max_batch_size takes one value, not keys. Write max_batch_size: <value>",
        ),
        (
            "1.3.0rc21",
            {"backend": "tensorrt"},
            "engine.llm_args.backend: TensorRT-LLM 1.3.0rc21 does not take 'tensorrt' for backend. "
            "It takes pytorch, _autodeploy (TorchLlmArgs in llm_args.py @0004396; trtllm-serve's --backend)",
        ),
    ],
)
def test_a_refusal_names_the_right_one(release: str, args: dict[str, object], line: str) -> None:
    assert refusal(release, args) == line


def test_every_old_name_is_refused_in_every_release_with_the_name_of_that_release() -> None:
    catalog = load_catalog()
    for old, renamed in catalog.renamed.items():
        for release in RELEASES:
            args: object = 1
            for part in reversed(old.split(".")):
                args = {part: args}
            assert isinstance(args, dict)
            key = catalog.keys[renamed.new]
            right = key.instead if key.span.too_late(release) else renamed.new
            # a section may be too young itself, and is then what the line is about
            assert str(right) in refusal(release, args) or "does not have the LLM argument" in refusal(release, args)


@pytest.mark.parametrize(
    ("key", "value", "taken", "refused", "hint"),
    [
        ("sampler_type", "auto", ("1.1.0", "1.3.0rc21"), ("1.0.0",), "take release 1.1.0 or later"),
        ("enable_trtllm_sampler", True, ("1.0.0", "1.1.0"), ("1.2.0",), "Write sampler_type, for example TorchSampler"),
        ("connector_config", {}, (), ("1.2.0",), "Write kv_connector_config"),
        (
            "build_config",
            {},
            ("1.0.0", "1.3.0rc20"),
            ("1.3.0rc21",),
            "Leave it out: it belongs to the TensorRT backend",
        ),
        ("env_overrides", {"A": "1"}, ("1.2.0",), ("1.1.0",), "take release 1.2.0 or later"),
        ("moe_config", {"backend": "AUTO"}, ("1.3.0rc2",), ("1.1.0", "1.2.1", "1.3.0rc0"), "It takes CUTLASS, TRTLLM"),
        ("moe_config", {"backend": "trtllm"}, (), RELEASES, "Did you mean TRTLLM?"),
        ("kv_cache_config", {"dtype": "fp4"}, (), RELEASES, "It takes auto, fp8, nvfp4"),
        ("nvfp4_gemm_config", {"allowed_backends": ["cutlass", "cublas"]}, (), ("1.2.1",), "Did you mean cublaslt?"),
        ("attention_dp_config", {"enable_balance": True}, RELEASES, (), ""),
        ("speculative_config", {"decoding_type": "Eagle3", "anything": 1}, RELEASES, (), ""),
        ("cuda_graph_config", None, RELEASES, (), ""),
    ],
)
def test_what_a_release_takes(
    key: str, value: object, taken: tuple[str, ...], refused: tuple[str, ...], hint: str
) -> None:
    for release in taken:
        check_llm_args(release, {key: value})
    for release in refused:
        assert hint in refusal(release, {key: value})


def test_a_doubtful_argument_is_taken_with_a_note() -> None:
    (note,) = check_llm_args("1.2.1", {"kv_cache_free_gpu_memory_fraction": 0.9}, where="recipe")
    assert note.startswith("recipe.kv_cache_free_gpu_memory_fraction stands in NVIDIA's curated files")
    assert note.endswith("kv_cache_config.free_gpu_memory_fraction is the sure form")


def test_graph_sizes_agree() -> None:
    sizes = {"enable_padding": True, "batch_sizes": [1, 2, 64]}
    for largest in (0, 64, None):
        assert check_llm_args("1.2.1", {"cuda_graph_config": {**sizes, "max_batch_size": largest}}) == ()
    assert refusal("1.2.1", {"cuda_graph_config": {**sizes, "max_batch_size": 32}}) == (
        "engine.llm_args.cuda_graph_config: cuda_graph_config.max_batch_size 32 is not the largest of batch_sizes, 64. "
        "Leave one of the two out"
    )


def test_a_key_that_is_no_name_is_shown_in_one_line() -> None:
    assert refusal("1.2.1", {"a\nb": 1}).startswith(r"engine.llm_args.'a\nb': ")


def test_the_release_of_a_post_release_counts() -> None:
    assert check_llm_args("1.2.0rc2.post2", {"sampler_type": "auto"})


NAMES = st.one_of(
    st.sampled_from(sorted({part for path in load_catalog().keys for part in path.split(".")})),
    st.sampled_from(sorted(load_catalog().renamed)),
    st.text(max_size=8),
    st.integers(),
    st.none(),
)
WORDS = st.sampled_from(sorted({word for words in load_catalog().values.values() for word in words.allowed}))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.binary(max_size=3), WORDS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=8,
)


@given(
    release=st.one_of(st.sampled_from(RELEASES), st.text(max_size=8)), args=st.dictionaries(NAMES, VALUES, max_size=4)
)
def test_whatever_is_written_there_is_one_line_or_fine(release: str, args: dict[str, object]) -> None:
    try:
        lines = check_llm_args(release, args)
    except PlanError as error:
        lines = (str(error),)
    assert all(len(line.splitlines()) == 1 for line in lines)

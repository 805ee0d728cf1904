from __future__ import annotations

import pytest
from pydantic import ValidationError

from toolkit.trtllm import Kernel, load_targets
from toolkit.trtllm.kernels import Format, best_first

SMS = (90, 100, 103, 120, 121)
NONE: dict[int, tuple[str, ...]] = dict.fromkeys(SMS, ())


@pytest.mark.parametrize(
    ("family", "format", "backends"),
    [
        ("gpt-oss", "nvfp4", NONE | {100: ("TRTLLM",), 103: ("TRTLLM",)}),
        (
            "gpt-oss",
            "mxfp4",
            {
                90: ("TRITON", "CUTLASS?"),
                100: ("TRTLLM", "CUTLASS"),
                103: ("TRTLLM", "CUTLASS"),
                120: ("CUTLASS?",),
                121: ("CUTLASS?",),
            },
        ),
        ("gpt-oss", "bf16", dict.fromkeys(SMS, ("CUTLASS?",)) | {90: ("TRITON", "CUTLASS?")}),
        ("gpt-oss", "fp8", NONE),
        (
            "qwen3-moe",
            "nvfp4",
            {
                90: (),
                100: ("CUTLASS", "TRTLLM", "CUTEDSL"),
                103: ("CUTLASS", "TRTLLM", "CUTEDSL"),
                120: ("CUTLASS",),
                121: ("CUTLASS",),
            },
        ),
        ("qwen3-moe", "mxfp4", NONE),
        ("qwen3-moe", "bf16", dict.fromkeys(SMS, ("CUTLASS",))),
        ("qwen3-moe", "fp8", dict.fromkeys(SMS, ("CUTLASS",))),
    ],
)
def test_moe_backends_best_first(family: str, format: Format, backends: dict[int, tuple[str, ...]]) -> None:
    """A question mark stands for contested."""
    found = {sm: load_targets().moe_kernels(family, format, sm) for sm in SMS}
    assert backends == {
        sm: tuple(k.backend + ("?" if k.status == "contested" else "") for k in kernels)
        for sm, kernels in found.items()
    }


@pytest.mark.parametrize(
    ("sm", "format", "algo"),
    [(100, "mxfp4", "W4A8_MXFP4_MXFP8"), (120, "mxfp4", "W4A8_MXFP4_MXFP8"), (90, "mxfp4", "W4A16_MXFP4")],
)
def test_the_activations_that_mxfp4_runs_with(sm: int, format: Format, algo: str) -> None:
    assert load_targets().moe_kernels("gpt-oss", format, sm)[0].algo == algo


@pytest.mark.parametrize(
    ("format", "sms"),
    [("nvfp4", {100, 103, 120, 121}), ("mxfp4", set()), ("bf16", set(SMS)), ("fp8", set(SMS))],
)
def test_dense_linears(format: Format, sms: set[int]) -> None:
    assert {sm for sm in SMS if load_targets().linear_kernel(format, sm) is not None} == sms


def test_hopper_runs_nvfp4_only_where_it_is_asked_for() -> None:
    targets = load_targets()
    [linear] = targets.opt_in_kernels("linear", "qwen3-moe", "nvfp4", 90)
    assert (linear.backend, linear.opt_in) == ("MARLIN", "nvfp4_gemm_config.allowed_backends=[marlin]")
    assert [k.backend for k in targets.moe_kernels("qwen3-moe", "nvfp4", 90, "1.4.0rc1", opt_in=True)] == ["MARLIN"]
    assert targets.linear_kernel("nvfp4", 90, "1.4.0rc1") is None
    assert targets.moe_kernels("qwen3-moe", "nvfp4", 90, "1.2.1", opt_in=True) == ()


def test_attention_sinks() -> None:
    targets = load_targets()
    found = {sm: targets.attention_kernel("gpt-oss", sm) for sm in SMS}
    assert {sm: (k.status, k.reports) for sm, k in found.items() if k is not None} == {
        90: ("supported", ()),
        100: ("supported", ()),
        103: ("supported", ()),
        120: ("contested", (6892, 13156)),
        121: ("contested", (8474,)),
    }
    for family in ("llama", "qwen3-moe"):
        plain = [targets.attention_kernel(family, sm) for sm in SMS]
        assert [k.status for k in plain if k is not None] == ["supported"] * len(SMS)


@pytest.mark.parametrize(("release", "is_there"), [("1.1.0", False), ("1.2.0", True), ("1.3.0rc4", True)])
def test_what_came_later_is_not_in_an_older_release(release: str, is_there: bool) -> None:
    targets = load_targets()
    assert bool(targets.moe_kernels("gpt-oss", "mxfp4", 120, release)) == is_there
    assert (targets.attention_kernel("gpt-oss", 121, release) is not None) == is_there
    assert targets.moe_kernels("gpt-oss", "mxfp4", 100, release)


def test_every_since_is_a_release_and_every_sm_a_gpu() -> None:
    targets = load_targets()
    for kernel in targets.kernels:
        assert {kernel.since, kernel.seen} <= {None, *targets.releases}
        assert set(kernel.sm) <= {gpu.sm for gpu in targets.gpus.values()}


def test_a_contested_kernel_says_so_in_its_fact_and_no_supported_one_does() -> None:
    for kernel in load_targets().kernels:
        assert kernel.status == "supported" or kernel.opt_in or kernel.fact.status == "contested"
        assert kernel.status == "contested" or kernel.part == "kv" or kernel.fact.status in ("verified", "inferred")


def test_a_kernel_for_nvfp4_gpt_oss_exists_exactly_on_data_centre_blackwell() -> None:
    targets = load_targets()
    found = {name: targets.moe_kernels("gpt-oss", "nvfp4", gpu.sm) for name, gpu in targets.gpus.items()}
    backends = {name: [kernel.backend for kernel in kernels] for name, kernels in found.items() if kernels}
    assert backends == {gpu: ["TRTLLM"] for gpu in ("b200", "gb200", "b300", "gb300")}


@pytest.mark.parametrize(("release", "status"), [("1.0.0", "inferred"), ("1.3.0rc20", "verified")])
def test_what_was_measured_later_is_inferred_for_an_older_release(release: str, status: str) -> None:
    targets = load_targets()
    kernel = targets.linear_kernel("nvfp4", 121, release)
    assert kernel is not None
    fact = targets.kernel_fact(kernel, release)
    assert (kernel.fact.status, fact.status) == ("verified", status)
    assert (f"that {release} does the same is inferred" in fact.statement) == (status == "inferred")
    oldest = targets.linear_kernel("nvfp4", 100, release)
    assert oldest is not None
    assert targets.kernel_fact(oldest, release) == oldest.fact


@pytest.mark.parametrize(
    ("family", "dtype", "sms"),
    [
        ("gpt-oss", "fp8", dict.fromkeys((90, 100, 103), "verified") | {120: "unverified", 121: "unverified"}),
        ("gpt-oss", "nvfp4", {100: "unverified", 103: "unverified"}),
        ("llama", "fp8", dict.fromkeys(SMS, "inferred")),
        ("qwen3-moe", "nvfp4", {100: "inferred", 103: "inferred"}),
    ],
)
def test_kv_caches(family: str, dtype: Format, sms: dict[int, str]) -> None:
    found = {sm: load_targets().kv_kernel(family, dtype, sm) for sm in SMS}
    assert {sm: kernel.fact.status for sm, kernel in found.items() if kernel is not None} == sms


def test_supported_goes_before_contested_and_the_order_stays() -> None:
    kernel = load_targets().kernels[0]
    first, second = (kernel.model_copy(update={"backend": name}) for name in ("TRTLLM", "CUTLASS"))
    doubtful = kernel.model_copy(update={"status": "contested"})
    assert best_first([doubtful, second, first]) == (second, first, doubtful)


def test_an_unknown_status_is_refused() -> None:
    kernel = load_targets().kernels[0].model_dump()
    with pytest.raises(ValidationError):
        Kernel.model_validate({**kernel, "status": "probably"})

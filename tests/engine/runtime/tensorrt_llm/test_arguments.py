from __future__ import annotations

from typing import Any

import pytest

from toolkit.engine.runtime.tensorrt_llm.arguments import llm_kwargs

KNOWN = frozenset({"skip_tokenizer_init", "num_postprocess_workers", "enable_iter_perf_stats"})
GIVEN: dict[str, Any] = {"backend": "pytorch", "kv_cache_config": {"dtype": "fp8"}}
ALWAYS = {"model": "/checkpoint", **GIVEN, "skip_tokenizer_init": True}


@pytest.mark.parametrize(
    ("args", "fields", "expected"),
    [
        (GIVEN, None, ALWAYS),
        (GIVEN, KNOWN, {**ALWAYS, "num_postprocess_workers": 0, "enable_iter_perf_stats": True}),
        (
            {**GIVEN, "num_postprocess_workers": 4, "enable_iter_perf_stats": False},
            KNOWN,
            {**ALWAYS, "num_postprocess_workers": 0, "enable_iter_perf_stats": False},
        ),
        (GIVEN, frozenset({"enable_mixed_sampler"}), {**ALWAYS, "enable_mixed_sampler": True}),
    ],
)
def test_the_bundles_arguments_and_the_adapters_own(
    args: dict[str, Any], fields: frozenset[str] | None, expected: dict[str, Any]
) -> None:
    assert llm_kwargs("/checkpoint", args, fields, dict) == expected


def test_sections_are_made_by_the_release() -> None:
    made = llm_kwargs("/checkpoint", GIVEN, None, lambda args: {**args, "kv_cache_config": tuple(args)})
    assert made["kv_cache_config"] == ("backend", "kv_cache_config")

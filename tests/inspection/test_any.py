"""Whatever tensors and JSON there are, an inspection is made or refused in one line."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import write_checkpoint
from tests.inspection.variants import TYPES
from toolkit.errors import CheckpointError
from toolkit.inspection import inspect_source, to_text

STEMS = (
    "a",
    "model.layers.0.self_attn.q_proj",
    "model.layers.0.mlp.experts.gate_up_proj",
    "l.0.experts.1.down_proj",
    "",
)
TAILS = (
    *("", ".weight", ".bias", ".weight_packed", ".weight_global_scale", ".weight_scale_inv", ".k_scale"),
    *(f"{joint}{tail}" for joint in "._" for tail in ("weight_scale", "weight_scale_2", "input_scale", "bias")),
    *("_blocks", "_scales"),
)
names = st.builds(str.__add__, st.sampled_from(STEMS), st.sampled_from(TAILS)).filter(bool)
shapes = st.lists(st.sampled_from([0, 1, 2, 8, 16, 32]), max_size=4).map(tuple)
tensors = st.dictionaries(names, st.tuples(st.sampled_from(sorted(TYPES)), shapes), max_size=8)
algorithms = st.sampled_from([None, "NVFP4", "FP8", "mxfp4", "MIXED_PRECISION", "W4A16_NVFP4"])
excludes = st.lists(st.sampled_from(["lm_head", "a*", "*", "[", "", "model.layers.0.self_attn*"]), max_size=4)
quantization = st.fixed_dictionaries(
    {},
    optional={
        "quant_algo": algorithms,
        "quant_method": algorithms,
        "kv_cache_quant_algo": algorithms,
        "group_size": st.sampled_from([None, 16, 32, "16", [16]]),
        "exclude_modules": excludes,
        "ignore": excludes,
    },
)
versions = st.sampled_from([None, "0.37.0", "0.41.0", "0", "", "1.x", "0.41.0rc1", 3])
producer = st.fixed_dictionaries({}, optional={"name": st.sampled_from(["modelopt", None, 1]), "version": versions})
architectures = st.sampled_from(["GptOssForCausalLM", "LlamaForCausalLM", "Qwen3MoeForCausalLM", "MadeUp"])


@given(tensors, architectures, quantization, quantization, producer, st.integers(0, 255))
def test_no_other_error(
    specs: dict[str, tuple[str, tuple[int, ...]]],
    architecture: str,
    inline: dict[str, Any],
    said: dict[str, Any],
    by: dict[str, Any],
    byte: int,
) -> None:
    arrays = {
        name: (dtype, np.full(int(np.prod(shape)) * np.dtype(TYPES[dtype]).itemsize, byte, np.uint8)
               .view(TYPES[dtype]).reshape(shape))
        for name, (dtype, shape) in specs.items()
    }  # fmt: skip
    config = {"architectures": [architecture], "quantization_config": inline}
    quant_config = {"producer": by, "quantization": said}
    with tempfile.TemporaryDirectory() as folder:
        write_checkpoint(Path(folder), {"model.safetensors": arrays}, config=config, quant_config=quant_config)
        try:
            found = inspect_source(folder, deep=True)
        except CheckpointError:
            return
    assert "\n\n" in to_text(found)
    document = json.loads(json.dumps(found.to_dict()))
    assert sum(module["bytes"] for module in document["modules"]) == sum(a.nbytes for _, a in arrays.values())
    assert {finding["id"] for finding in document["findings"]} <= set(document["checks"]["made"])

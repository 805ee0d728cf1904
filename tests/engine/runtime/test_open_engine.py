"""The adapter that a bundle gets."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from toolkit.engine.bundle import Bundle
from toolkit.engine.runtime import open_engine
from toolkit.engine.runtime.cpu import CpuEngine
from toolkit.engine.runtime.protocol import Request, SamplingParams
from toolkit.errors import EngineError
from toolkit.recipe import Recipe


def bundle(folder: Path, target: dict[str, Any]) -> Bundle:
    recipe = Recipe.model_validate(
        {
            "name": "tiny",
            "checkpoint": {"path": folder},
            "target": target,
            "engine": {"output": folder, "max_batch_size": 3, "max_num_tokens": 32, "max_seq_len": 40},
            "serve": {"repository": folder},
            "bench": {"output": folder},
        }
    )
    return Bundle(folder, {}, recipe)


def test_cpu_bundle_runs_with_the_limits_of_its_recipe(tiny: Any, tmp_path: Path) -> None:
    tiny.write(tmp_path / "checkpoint")
    engine = open_engine(bundle(tmp_path, {"runtime": "cpu"}))
    assert isinstance(engine, CpuEngine)
    assert (engine.max_seq_len, engine.stats().slots, engine.stats().kv_capacity) == (40, 3, 120)

    async def scenario() -> int:
        request = Request("a", (7,) * 39, SamplingParams(max_tokens=4))
        return len([event async for event in engine.submit(request)])

    assert asyncio.run(scenario()) == 1
    engine.close()


@pytest.mark.skipif(find_spec("tensorrt_llm") is not None, reason="TensorRT-LLM is here")
def test_tensorrt_llm_bundle_says_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(EngineError) as caught:
        open_engine(bundle(tmp_path, {"runtime": "tensorrt-llm", "release": "1.2.1", "gpu": "b200"}))
    assert caught.value.what == "this bundle is for tensorrt-llm, which needs TensorRT-LLM and a GPU"
    assert caught.value.where == str(tmp_path)
    assert caught.value.hint == (
        "Run it in a container that has both, or build one that runs here: "
        "trtkit engine RECIPE --set target.runtime=cpu"
    )

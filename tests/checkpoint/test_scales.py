"""Scalars as they are stored."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from tests.helpers import write_checkpoint
from toolkit.checkpoint.scales import read_scalars
from toolkit.checkpoint.source import Checkpoint

SCALARS = {"zero": 0.0, "negative": -2.5, "infinite": math.inf, "small": 2.0**-149}


def test_every_f32_of_one_element_and_nothing_else(tmp_path: Path) -> None:
    tensors = {name: ("F32", np.array(value, "<f4")) for name, value in SCALARS.items()}
    others = {
        "one.element": ("F32", np.array([[7.0]], "<f4")),
        "nan": ("F32", np.array(math.nan, "<f4")),
        "vector": ("F32", np.zeros(2, "<f4")),
        "empty": ("F32", np.zeros(0, "<f4")),
        "bf16": ("BF16", np.zeros((), "<u2")),
        "f64": ("F64", np.zeros((), "<f8")),
    }
    folder = write_checkpoint(tmp_path, {"model.safetensors": {**tensors, **others}})
    with Checkpoint.open(folder) as checkpoint:
        scalars = read_scalars(checkpoint)
    assert math.isnan(scalars.pop("nan"))
    assert scalars == {**SCALARS, "one.element": 7.0}
    assert {type(value) for value in scalars.values()} == {float}


def test_a_modelopt_export(shared_fixtures: Path) -> None:
    """Facts: q, k and v share one scale; of the experts there is one scalar for all."""
    with Checkpoint.open(shared_fixtures / "tiny-gpt-oss-nvfp4-sharded-modelopt-0.37") as checkpoint:
        scalars = read_scalars(checkpoint)
    layers = 2
    assert len(scalars) == layers * 2 * (4 + 2)  # weight_scale_2 and input_scale of q, k, v, o and two expert tensors
    for layer in range(layers):
        prefix = f"model.layers.{layer}.self_attn"
        assert len({scalars[f"{prefix}.{name}_proj.weight_scale_2"] for name in "qkv"}) == 1
    assert all(0 < value < math.inf for value in scalars.values())

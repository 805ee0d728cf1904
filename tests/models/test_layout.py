from __future__ import annotations

import pytest

from tests.models.layouts import case, infos
from toolkit.errors import CheckpointError
from toolkit.models.layout import Layout, match


def test_nvfp4_and_bf16_are_taken() -> None:
    for name, expected in (
        ("gpt-oss-nvfp4", Layout(attention="nvfp4", ffn="nvfp4")),
        ("gpt-oss-bf16", Layout(attention="bf16", ffn="bf16")),
    ):
        _, geometry, tensors = case(name)
        assert match(infos(tensors), geometry, "folder") == expected


def test_mxfp4_is_called_by_its_name() -> None:
    _, geometry, tensors = case("gpt-oss-mxfp4")
    with pytest.raises(CheckpointError) as caught:
        match(infos(tensors), geometry, "folder")
    assert str(caught.value) == (
        "folder: the experts are MXFP4, not NVFP4. TensorRT-LLM serves MXFP4 as it is, without trtkit; for NVFP4, "
        "export it with ModelOpt 0.45 or later: hf_ptq.py --qformat nvfp4_mlp_only --cast_mxfp4_to_nvfp4"
    )

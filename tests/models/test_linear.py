from __future__ import annotations

import pytest

from toolkit.models.layout import Format
from toolkit.models.linear import linear


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ("bf16", {"q.weight": ("BF16", (96, 64))}),
        ("fp8", {"q.weight": ("F8_E4M3", (96, 64)), "q.weight_scale": ("F32", ()), "q.input_scale": ("F32", ())}),
        (
            "nvfp4",
            {
                "q.weight": ("U8", (96, 32)),
                "q.weight_scale": ("F8_E4M3", (96, 4)),
                "q.weight_scale_2": ("F32", ()),
                "q.input_scale": ("F32", ()),
            },
        ),
    ],
)
def test_a_linear(stored: Format, expected: dict[str, object]) -> None:
    assert dict(linear("q", (96, 64), stored)) == expected
    assert dict(linear("q", (96, 64), stored, bias=True)) == {"q.bias": ("BF16", (96,)), **expected}


def test_no_linear_is_mxfp4() -> None:
    with pytest.raises(ValueError, match="no producer stores a Linear as mxfp4"):
        dict(linear("q", (96, 64), "mxfp4"))

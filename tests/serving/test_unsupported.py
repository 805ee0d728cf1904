from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from toolkit.errors import RequestError
from toolkit.serving.unsupported import UNSUPPORTED, Unsupported, refuse

NUMPY = {"BYTES": np.object_, "BOOL": np.bool_, "UINT8": np.uint8, "INT32": np.int32, "UINT64": np.uint64}
NUMPY |= {"FP16": np.float16, "FP32": np.float32}


def array(spec: Unsupported, value: Any) -> Any:
    return np.full([1 if size < 0 else size for size in spec.dims], value, NUMPY[spec.datatype])


@pytest.mark.parametrize("spec", UNSUPPORTED, ids=lambda spec: spec.name)
def test_each_is_refused_by_name_but_not_when_it_asks_for_nothing(spec: Unsupported) -> None:
    asked = b"x" if spec.datatype == "BYTES" else 1
    with pytest.raises(RequestError) as caught:
        refuse({spec.name: array(spec, asked)})
    assert str(caught.value) == f"input {spec.name!r} asks for {spec.what}, which this model does not have"
    refuse({spec.name: np.empty((0,), NUMPY[spec.datatype])})
    for value in spec.neutral:
        refuse({spec.name: array(spec, value)})


def test_a_large_tensor_is_refused_unread() -> None:
    with pytest.raises(RequestError, match="asks for bad words"):
        refuse({"bad_words": np.full(10**6, b"", np.object_)})

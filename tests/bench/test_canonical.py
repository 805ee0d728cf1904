from __future__ import annotations

import hashlib

import pytest

from toolkit.bench.canonical import canonical_json, digest


def test_one_text_for_equal_values() -> None:
    assert canonical_json({"b": [1, 2.5, None], "a": "ü"}) == '{"a":"ü","b":[1,2.5,null]}'.encode()
    assert canonical_json({"a": 1, "b": 2}) == canonical_json({"b": 2, "a": 1})


def test_digest_is_the_head_of_the_sha256() -> None:
    assert digest({"a": 1}, 10) == hashlib.sha256(b'{"a":1}').hexdigest()[:10]


def test_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"a": float("nan")})

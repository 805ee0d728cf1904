from __future__ import annotations

import pytest

from toolkit.trtllm.near import nearest

NAMES = ("--checkpoint_dir", "--random-seed", "max_batch_size", "max_seq_len", "TRTLLM", "TRITON")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("--checkpoint-dir", "--checkpoint_dir"),
        ("--random_seed", "--random-seed"),
        ("trtllm", "TRTLLM"),
        ("TRT-LLM", "TRTLLM"),
        ("max_batchsize", "max_batch_size"),
        ("zzz", None),
        ("", None),
    ],
)
def test_the_name_that_was_meant(written: str, meant: str | None) -> None:
    assert nearest(written, NAMES) == meant


def test_a_very_long_word_has_no_name_near_it() -> None:
    assert nearest("x" * 100_000, NAMES) is None

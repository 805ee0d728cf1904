from __future__ import annotations

from toolkit.bench.stats.identity import Difference, differences

A = {"gpu": "B200", "software": {"torch": "2.9", "nccl": "2.27"}, "yaml": ["a", "b"], "driver": "570"}
B = {"gpu": "H200", "software": {"torch": "2.10"}, "yaml": ("a", "b"), "mig": False}


def test_every_key_that_differs_is_named_sorted() -> None:
    assert differences(A, B, "identity", {"software"}) == (
        Difference("driver", "identity", "570", "(absent)", False),
        Difference("gpu", "identity", "B200", "H200", False),
        Difference("mig", "identity", "(absent)", "False", False),
        Difference("software.nccl", "identity", "2.27", "(absent)", True),
        Difference("software.torch", "identity", "2.9", "2.10", True),
    )


def test_what_forbids_a_verdict() -> None:
    assert [one.forbids for one in differences(A, B, "identity", {"software", "gpu", "mig", "dri"})] == [
        True,
        False,
        False,
        False,
        False,
    ]
    assert not any(one.forbids for one in differences(A, B, "context"))


def test_equal_mappings() -> None:
    assert differences(A, dict(reversed(A.items())), "identity") == ()
    assert str(differences({"gpu": 1}, {"gpu": 2}, "context")[0]) == "gpu: 1 against 2"

"""Which rows each step takes, without a model: logits are made up."""

from __future__ import annotations

import numpy as np

from toolkit.engine.runtime.cpu.scheduler import Failure, Outcome, Scheduler, Sequence, Step
from toolkit.engine.runtime.protocol import Request, SamplingParams
from toolkit.engine.runtime.sampling import Sampler

VOCAB = 1000


def sequence(name: str, prompt: int, **sampling: int) -> Sequence:
    """A request whose prompt is 100, 101, …"""
    ids = tuple(range(100, 100 + prompt))
    params = SamplingParams(**sampling)
    return Sequence(Request(name, ids, params), Sampler(params, ids, VOCAB, eos_ids=(2,)))


def scheduler(*sequences: Sequence, slots: int = 3, max_num_tokens: int = 8, max_seq_len: int = 64) -> Scheduler:
    made = Scheduler(slots=slots, max_num_tokens=max_num_tokens, max_seq_len=max_seq_len)
    for one in sequences:
        made.add(one)
    return made


def spans(step: Step | None) -> list[tuple[str, int]]:
    assert step is not None
    return [(span.sequence.request.request_id, span.count) for span in step.spans]


def run(made: Scheduler, token: int = 7) -> tuple[list[tuple[str, int]], list[Outcome]]:
    """One step in which every choice is ``token``."""
    step = made.next_step()
    assert step is not None
    logits = np.zeros((len(step.logit_rows_R), VOCAB), np.float32)
    logits[:, token] = 1
    outcomes = made.complete(step, logits)
    assert not any(isinstance(outcome, Failure) for outcome in outcomes)
    return spans(step), [outcome for outcome in outcomes if isinstance(outcome, Outcome)]


def test_decode_first_then_chunks_in_order_of_arrival() -> None:
    made = scheduler(sequence("a", 3), sequence("b", 12), sequence("c", 4))
    assert [run(made)[0] for _ in range(5)] == [
        [("a", 3), ("b", 5)],
        [("a", 1), ("b", 7)],
        [("a", 1), ("b", 1), ("c", 4)],
        [("a", 1), ("b", 1), ("c", 1)],
        [("a", 1), ("b", 1), ("c", 1)],
    ]


def test_arrays_of_a_step() -> None:
    made = scheduler(sequence("a", 3), sequence("b", 12))
    run(made)
    step = made.next_step()
    assert step is not None
    assert step.tokens_T.tolist() == [7, 105, 106, 107, 108, 109, 110, 111]
    assert step.positions_T.tolist() == [3, 5, 6, 7, 8, 9, 10, 11]
    assert step.slots_T.tolist() == [0, 1, 1, 1, 1, 1, 1, 1]
    assert step.logit_rows_R.tolist() == [0, 7]


def test_a_prompt_without_logits_yields_nothing() -> None:
    made = scheduler(sequence("a", 20))
    assert [len(run(made)[1]) for _ in range(4)] == [0, 0, 1, 1]


def test_admission_is_first_in_first_out_into_the_lowest_slot() -> None:
    a, b, c, d = (sequence(name, 2, max_tokens=9) for name in "abcd")
    made = scheduler(a, b, c, d)
    run(made)
    assert ([one.slot for one in (a, b, c, d)], len(made.waiting)) == ([0, 1, 2, None], 1)
    made.remove(b)
    run(made)
    assert ([one.slot for one in (a, b, c, d)], len(made.waiting)) == ([0, None, 2, 1], 0)


def test_slots_ascend_in_a_step_whatever_the_order_of_arrival() -> None:
    a, b, c = (sequence(name, 2, max_tokens=9) for name in "abc")
    made = scheduler(a, b, slots=2)
    run(made)
    made.remove(a)
    made.add(c)
    step = made.next_step()
    assert spans(step) == [("c", 2), ("b", 1)]
    assert step is not None
    assert step.slots_T.tolist() == [0, 0, 1]


def test_removing_a_waiting_request() -> None:
    a, b = sequence("a", 2), sequence("b", 2)
    made = scheduler(a, b, slots=1)
    run(made)
    made.remove(b)
    assert not made.waiting
    assert a.slot == 0


def test_end_token_ends_with_stop_and_frees_the_slot() -> None:
    a = sequence("a", 2)
    made = scheduler(a)
    (outcome,) = run(made, token=2)[1]
    assert (outcome.token, outcome.finish_reason, a.slot, made.running) == (2, "stop", None, [])
    assert made.next_step() is None


def test_max_tokens_ends_with_length() -> None:
    made = scheduler(sequence("a", 2, max_tokens=3))
    assert [run(made)[1][0].finish_reason for _ in range(3)] == [None, None, "length"]


def test_stop_wins_over_length() -> None:
    made = scheduler(sequence("a", 2, max_tokens=1))
    assert run(made, token=2)[1][0].finish_reason == "stop"


def test_the_context_ends_with_length() -> None:
    made = scheduler(sequence("a", 5, max_tokens=100), max_seq_len=8)
    assert [run(made)[1][0].finish_reason for _ in range(3)] == [None, None, "length"]


def test_no_more_slots_than_rows() -> None:
    made = scheduler(*(sequence(name, 3) for name in "abcd"), slots=8, max_num_tokens=2)
    assert made.slots == 2
    taken = [run(made)[0] for _ in range(5)]
    assert taken == [[("a", 2)], [("a", 1), ("b", 1)], [("a", 1), ("b", 1)], [("a", 1), ("b", 1)], [("a", 1), ("b", 1)]]


def test_every_request_of_a_crowd_completes() -> None:
    made = scheduler(*(sequence(str(n), 1 + n % 11, max_tokens=1 + n % 5) for n in range(40)))
    made_tokens: dict[str, int] = {}
    while made.running or made.waiting:
        taken, outcomes = run(made)
        assert sum(count for _, count in taken) <= 8
        for outcome in outcomes:
            name = outcome.sequence.request.request_id
            made_tokens[name] = made_tokens.get(name, 0) + 1
    assert made_tokens == {str(n): 1 + n % 5 for n in range(40)}


def test_logits_that_nothing_can_be_chosen_by_end_their_request_alone() -> None:
    a, b = sequence("a", 2), sequence("b", 2)
    made = scheduler(a, b, slots=2)
    step = made.next_step()
    assert step is not None
    logits = np.zeros((2, VOCAB), np.float32)
    logits[0, 5] = np.nan
    failure, outcome = made.complete(step, logits)
    assert isinstance(failure, Failure)
    assert isinstance(outcome, Outcome)
    assert (failure.sequence, failure.error.what) == (a, "no token can be chosen: the largest logit is nan")
    assert (outcome.sequence, outcome.token, a.slot, made.running) == (b, 0, None, [b])
    made.add(sequence("c", 2))
    assert spans(made.next_step()) == [("c", 2), ("b", 1)]

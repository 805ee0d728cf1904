"""The rules of each sampling parameter, and the distribution that drawing follows."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit.engine.runtime.protocol import SamplingParams
from toolkit.engine.runtime.sampling import RANGES, Range, Sampler, validate
from toolkit.errors import EngineError, RequestError

VOCAB = 16
LOGITS = np.log(np.array([0.4, 0.25, 0.15, 0.1, 0.06, 0.04] + [1e-12] * 10)).astype(np.float32)


def sampler(prompt: tuple[int, ...] = (0,), eos: tuple[int, ...] = (), **values: Any) -> Sampler:
    return Sampler(SamplingParams(**values), prompt, VOCAB, eos)


def draws(count: int, logits: np.ndarray = LOGITS, **values: Any) -> list[int]:
    chooser = sampler(**values)
    return [chooser.choose(logits)[0] for _ in range(count)]


def shares(tokens: list[int]) -> np.ndarray:
    return np.bincount(tokens, minlength=VOCAB)[:6] / len(tokens)


def test_greedy_takes_the_largest() -> None:
    assert draws(3) == [0, 0, 0]
    assert draws(3, seed=1, top_p=0.1, min_p=0.5) == [0, 0, 0]


def test_temperature_one_draws_from_the_softmax() -> None:
    found = shares(draws(20_000, temperature=1.0, seed=11))
    np.testing.assert_allclose(found, np.exp(LOGITS[:6]), atol=0.012)


def test_temperature_sharpens_and_flattens() -> None:
    for temperature in (0.5, 2.0):
        weights = np.exp(LOGITS.astype(float)) ** (1 / temperature)
        found = shares(draws(20_000, temperature=temperature, seed=12))
        np.testing.assert_allclose(found, (weights / weights.sum())[:6], atol=0.012)


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        ({"top_k": 1}, [0]),
        ({"top_k": 3}, [0, 1, 2]),
        ({"top_k": 1000}, [0, 1, 2, 3, 4, 5]),
        ({"top_p": 0.3}, [0]),
        ({"top_p": 0.64}, [0, 1]),
        ({"top_p": 0.66}, [0, 1, 2]),
        ({"min_p": 0.3}, [0, 1, 2]),
        ({"min_p": 1.0}, [0]),
        # top-p counts within what top-k and min-p leave: 0.4 and 0.25 are all of 0.65
        ({"top_k": 2, "top_p": 0.61}, [0]),
        ({"top_k": 2, "top_p": 0.62}, [0, 1]),
        ({"min_p": 0.3, "top_p": 0.81}, [0, 1]),
        ({"min_p": 0.3, "top_k": 2}, [0, 1]),
    ],
)
def test_filters_keep_the_likely_and_renormalise(values: dict[str, Any], kept: list[int]) -> None:
    found = shares(draws(4_000, temperature=1.0, seed=3, **values))
    weights = np.exp(LOGITS[:6]) * np.isin(np.arange(6), kept)
    np.testing.assert_allclose(found, weights / weights.sum(), atol=0.03)
    assert np.flatnonzero(found).tolist() == kept


def test_a_seed_repeats_and_seeds_differ() -> None:
    first = draws(50, temperature=1.0, seed=5)
    assert first == draws(50, temperature=1.0, seed=5)
    assert first != draws(50, temperature=1.0, seed=6)
    assert draws(50, temperature=1.0) != draws(50, temperature=1.0)


def test_other_requests_do_not_move_a_seed() -> None:
    one, other = sampler(temperature=1.0, seed=5), sampler(temperature=1.0, seed=9)
    mixed = []
    for _ in range(50):
        mixed.append(one.choose(LOGITS)[0])
        other.choose(LOGITS)
    assert mixed == draws(50, temperature=1.0, seed=5)


def test_a_tiny_temperature_is_greedy() -> None:
    assert draws(5, temperature=1e-300, seed=1) == [0] * 5


def test_repetition_penalty_divides_positive_and_multiplies_negative_logits() -> None:
    logits = np.full(VOCAB, -9, np.float32)
    logits[[1, 2, 3]] = [4.0, 2.5, 1.9]
    assert sampler(prompt=(1,), repetition_penalty=2.0).choose(logits)[0] == 2
    assert sampler(prompt=(1,), repetition_penalty=1.5).choose(logits)[0] == 1
    negative = np.full(VOCAB, -9, np.float32)
    negative[[1, 2]] = [-1.0, -1.5]
    assert sampler(prompt=(1,), repetition_penalty=2.0).choose(negative)[0] == 2


def test_repetition_penalty_counts_the_output_too() -> None:
    logits = np.full(VOCAB, -9, np.float32)
    logits[[1, 2]] = [4.0, 2.5]
    assert draws(3, logits, repetition_penalty=2.0) == [1, 2, 1]


def test_presence_penalty_counts_once_and_frequency_every_time() -> None:
    logits = np.zeros(VOCAB, np.float32)
    logits[[1, 2]] = [5.0, 2.0]
    assert draws(4, logits, presence_penalty=2.0) == [1, 1, 1, 1]
    assert draws(4, logits, frequency_penalty=2.0) == [1, 1, 2, 1]
    assert sampler(prompt=(1,) * 9, presence_penalty=2.0, frequency_penalty=2.0).choose(logits)[0] == 1


def test_end_tokens_are_masked_until_min_tokens() -> None:
    chooser = sampler(eos=(0,), stop_token_ids=(1,), min_tokens=2)
    assert [chooser.choose(LOGITS)[0] for _ in range(3)] == [2, 2, 0]
    assert chooser.ends == {0, 1}


def test_ignore_eos_leaves_the_requests_own_stop_tokens() -> None:
    assert sampler(eos=(0, 7), stop_token_ids=(1,), ignore_eos=True).ends == {1}


def test_logprobs_are_the_models_own() -> None:
    expected = LOGITS - math.log(np.exp(LOGITS.astype(float)).sum())
    chooser = sampler(eos=(0,), min_tokens=1, temperature=0.7, top_k=1, presence_penalty=1.0, logprobs=2)
    token, found = chooser.choose(LOGITS)
    assert token == 1
    assert found is not None
    assert (found.token_id, found.logprob) == (1, pytest.approx(expected[1], abs=1e-6))
    assert found.top == ((0, pytest.approx(expected[0], abs=1e-6)), (1, pytest.approx(expected[1], abs=1e-6)))


def test_logprobs_without_alternatives_and_none_at_all() -> None:
    found = sampler(logprobs=0).choose(LOGITS)[1]
    assert found is not None
    assert found.top == ()
    assert sampler().choose(LOGITS)[1] is None


def test_logits_are_not_changed() -> None:
    before = LOGITS.copy()
    chooser = sampler(eos=(0,), min_tokens=3, temperature=1.0, seed=1, repetition_penalty=1.3, frequency_penalty=0.2)
    for _ in range(3):
        chooser.choose(LOGITS)
    np.testing.assert_array_equal(LOGITS, before)


@given(
    st.lists(st.floats(-30, 30, width=32), min_size=VOCAB, max_size=VOCAB),
    st.floats(0.05, 5),
    st.integers(0, 20),
    st.floats(0.01, 1),
    st.floats(0, 1),
    st.integers(0, 2**64 - 1),
)
def test_a_draw_always_obeys_its_filters(
    values: list[float], temperature: float, top_k: int, top_p: float, min_p: float, seed: int
) -> None:
    logits = np.array(values, np.float32)
    (token,) = draws(1, logits, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, seed=seed)
    # by weight, not by logit: logits that differ by less than a weight can show are equal
    weights = np.exp((logits.astype(float) - logits.max()) / temperature)
    likelier = weights > weights[token]
    assert likelier.sum() < (top_k or VOCAB)
    assert weights[token] >= min_p * (1 - 1e-9)
    assert weights[likelier].sum() <= top_p * weights.sum() * (1 + 1e-9)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_tokens", 0),
        ("min_tokens", -1),
        ("min_tokens", 17),
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("temperature", 100.1),
        ("top_k", -1),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("top_p", math.nan),
        ("min_p", -0.1),
        ("min_p", 1.1),
        ("seed", -1),
        ("seed", 2**64),
        ("repetition_penalty", 0.0),
        ("repetition_penalty", 1e-50),
        ("repetition_penalty", 100.1),
        ("repetition_penalty", math.inf),
        ("presence_penalty", math.nan),
        ("presence_penalty", -3e38),
        ("presence_penalty", 2.1),
        ("frequency_penalty", math.inf),
        ("frequency_penalty", -3e38),
        ("frequency_penalty", -2.1),
        ("stop_token_ids", (VOCAB,)),
        ("stop_token_ids", (-1,)),
        ("logprobs", -1),
        ("logprobs", VOCAB + 1),
    ],
)
def test_validate_names_the_impossible_parameter(name: str, value: Any) -> None:
    with pytest.raises(RequestError) as caught:
        validate(replace(SamplingParams(), **{name: value}), VOCAB)
    assert caught.value.what.startswith(f"{name} is {value!r}, but must be ")


def test_validate_accepts_the_edges() -> None:
    validate(SamplingParams(), VOCAB)
    validate(
        SamplingParams(
            max_tokens=1,
            min_tokens=1,
            temperature=100.0,
            top_k=10**9,
            top_p=1.0,
            min_p=1.0,
            seed=2**64 - 1,
            repetition_penalty=float(np.float32(0.01)),
            presence_penalty=-2.0,
            frequency_penalty=2.0,
            stop_token_ids=(VOCAB - 1,),
            logprobs=VOCAB,
        ),
        VOCAB,
    )


def test_a_message_stays_short_whatever_was_asked() -> None:
    with pytest.raises(RequestError) as caught:
        validate(SamplingParams(stop_token_ids=tuple(range(VOCAB)) * 1000 + (VOCAB,)), VOCAB)
    assert caught.value.what == f"stop_token_ids is (0, 1, 2, 3, 4, 5, ...), but must be token ids below {VOCAB}"


@pytest.mark.parametrize(
    ("values", "eos"),
    [({"stop_token_ids": range(VOCAB)}, ()), ({"stop_token_ids": range(3, VOCAB)}, (0, 1, 2, 99))],
)
def test_min_tokens_need_a_token_that_does_not_end(values: dict[str, Any], eos: tuple[int, ...]) -> None:
    sampling = SamplingParams(min_tokens=4, stop_token_ids=tuple(values["stop_token_ids"]))
    with pytest.raises(RequestError, match=f"^stop_token_ids and end tokens are all {VOCAB} tokens there are"):
        validate(sampling, VOCAB, eos)
    validate(replace(sampling, min_tokens=0), VOCAB, eos)
    validate(replace(sampling, stop_token_ids=sampling.stop_token_ids[1:]), VOCAB, eos)
    if eos:
        validate(replace(sampling, ignore_eos=True), VOCAB, eos)


def test_every_range_is_of_a_parameter_and_holds_its_default() -> None:
    for name, allowed in RANGES.items():
        default = getattr(SamplingParams(), name)
        assert default is None or default in allowed


@pytest.mark.parametrize(
    ("allowed", "inside", "outside", "text"),
    [
        (Range(1), (1, 10**12), (0, math.nan), "at least 1"),
        (Range(0, above=True), (1e-9,), (0, -1), "above 0"),
        (Range(0, 1, above=True), (0.1, 1), (0, 1.1, math.nan), "above 0 and at most 1"),
        (Range(-2, 2), (-2, 0, 2), (-2.1, 2.1, math.inf), "between -2 and 2"),
    ],
)
def test_a_range(allowed: Range, inside: tuple[float, ...], outside: tuple[float, ...], text: str) -> None:
    assert [value for value in (*inside, *outside) if value in allowed] == list(inside)
    assert str(allowed) == text


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_logits_that_are_no_numbers_are_an_error_of_the_request(value: float, temperature: float) -> None:
    logits = np.full(VOCAB, value, np.float32)
    with pytest.raises(EngineError, match=rf"^no token can be chosen: the largest logit is {value}$"):
        sampler(temperature=temperature).choose(logits)


@st.composite
def accepted(draw: st.DrawFn) -> tuple[SamplingParams, tuple[int, ...]]:
    """Any parameters that ``validate`` accepts, with the model's end tokens."""

    def inside(name: str) -> st.SearchStrategy[float]:
        return st.floats(RANGES[name].low, RANGES[name].high, exclude_min=RANGES[name].above)

    max_tokens = draw(st.integers(1, 8))
    sampling = SamplingParams(
        max_tokens=max_tokens,
        min_tokens=draw(st.integers(0, max_tokens)),
        temperature=draw(inside("temperature")),
        top_k=draw(st.integers(0, VOCAB + 1)),
        top_p=draw(inside("top_p")),
        min_p=draw(inside("min_p")),
        seed=draw(st.none() | st.integers(0, 2**64 - 1)),
        repetition_penalty=draw(inside("repetition_penalty")),
        presence_penalty=draw(inside("presence_penalty")),
        frequency_penalty=draw(inside("frequency_penalty")),
        stop_token_ids=tuple(draw(st.sets(st.integers(0, VOCAB - 1), max_size=VOCAB - 1))),
        ignore_eos=draw(st.booleans()),
        logprobs=draw(st.none() | st.integers(0, VOCAB)),
    )
    eos = tuple(draw(st.sets(st.integers(0, VOCAB + 3), max_size=3)))
    try:
        validate(sampling, VOCAB, eos)
    except RequestError:
        sampling = replace(sampling, min_tokens=0)
        validate(sampling, VOCAB, eos)
    return sampling, eos


LOGIT = st.floats(-1e4, 1e4, width=32)


@settings(max_examples=300)
@given(
    accepted(),
    st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=5),
    st.lists(st.lists(LOGIT, min_size=VOCAB, max_size=VOCAB), min_size=1, max_size=3),
)
def test_whatever_is_accepted_chooses_a_token(
    asked: tuple[SamplingParams, tuple[int, ...]], prompt: list[int], rows: list[list[float]]
) -> None:
    sampling, eos = asked
    chooser = Sampler(sampling, tuple(prompt), VOCAB, eos)
    for number in range(sampling.max_tokens):
        token, found = chooser.choose(np.array(rows[number % len(rows)], np.float32))
        assert 0 <= token < VOCAB
        assert number >= sampling.min_tokens or token not in chooser.ends
        assert (found is None) == (sampling.logprobs is None)
        assert found is None or math.isfinite(found.logprob)

"""The step over the cache against the forward pass that keeps none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from toolkit.checkpoint.source import Checkpoint
from toolkit.engine.runtime.cpu.model import Model
from toolkit.engine.runtime.cpu.weights import load_weights, read_config
from toolkit.numerics.gpt_oss import GptOssConfig, Weights, forward

LONG = 330


@pytest.fixture(scope="module")
def loaded(tiny_folder: Path) -> tuple[Weights, GptOssConfig]:
    with Checkpoint.open(tiny_folder) as checkpoint:
        config = read_config(checkpoint)
        return load_weights(checkpoint, config, precision="w4a16", experts="dense"), config


@pytest.fixture(scope="module")
def prompts() -> list[np.ndarray]:
    random = np.random.default_rng(3)
    return [random.integers(0, 96, length) for length in (5, 1, 24, 25, 60, 131, 17, LONG)]


@pytest.fixture
def model(loaded: tuple[Weights, GptOssConfig]) -> Model:
    return Model(*loaded, slots=8, max_seq_len=400)


def prefill(model: Model, slot: int, tokens: np.ndarray, chunk: int) -> np.ndarray:
    """Logits of every position, computed ``chunk`` tokens at a time."""
    parts = []
    for begin in range(0, len(tokens), chunk):
        part = tokens[begin : begin + chunk]
        rows = np.arange(len(part))
        parts.append(model.step(part, begin + rows, np.full(len(part), slot), rows))
    return np.concatenate(parts)


def relative_rms(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.sqrt(np.mean((found - expected) ** 2) / np.mean(expected**2)))


@pytest.mark.parametrize("chunk", [LONG, 200, 64, 7, 1])
def test_chunked_prefill_equals_the_whole_forward(loaded, model: Model, prompts: list[np.ndarray], chunk: int) -> None:
    expected = forward(prompts[-1], *loaded)
    assert relative_rms(prefill(model, 3, prompts[-1], chunk), expected) < 2e-6


def test_the_window_is_not_seen_past(loaded, model: Model, prompts: list[np.ndarray]) -> None:
    """The sliding layers really drop keys: with full attention everywhere, logits past the window differ."""
    weights, config = loaded
    full = GptOssConfig(**{f: getattr(config, f) for f in config.__slots__} | {"windows": (None,) * 4})
    sliding, open_ended = prefill(model, 0, prompts[-1], 50), forward(prompts[-1], weights, full)
    assert relative_rms(sliding[:24], open_ended[:24]) < 2e-6
    assert relative_rms(sliding[100:], open_ended[100:]) > 1e-3


def test_one_ragged_step_equals_each_sequence_alone(loaded, model: Model, prompts: list[np.ndarray]) -> None:
    """Chunks of some slots and single rows of others in one step, in a batch with holes."""
    weights, config = loaded
    taken = {0: prompts[4], 1: prompts[5], 2: prompts[2], 5: prompts[-1], 7: prompts[0]}
    left = {0: 1, 1: 70, 2: 1, 5: 1, 7: 5}
    for slot, tokens in taken.items():
        if len(tokens) > left[slot]:
            prefill(model, slot, tokens[: -left[slot]], 32)
    tokens = np.concatenate([tokens[-left[slot] :] for slot, tokens in taken.items()])
    positions = np.concatenate([np.arange(len(tokens) - left[slot], len(tokens)) for slot, tokens in taken.items()])
    slots = np.repeat(list(left), list(left.values()))
    last_rows = np.cumsum(list(left.values())) - 1
    logits = model.step(tokens, positions, slots, last_rows)
    for row, sequence in zip(logits, taken.values(), strict=True):
        assert relative_rms(row, forward(sequence, weights, config)[-1]) < 2e-6


def test_a_slot_can_be_used_again(loaded, model: Model, prompts: list[np.ndarray]) -> None:
    prefill(model, 2, prompts[-1], 64)
    assert relative_rms(prefill(model, 2, prompts[4], 7), forward(prompts[4], *loaded)) < 2e-6


def greedy(model: Model, prompts: list[np.ndarray], count: int) -> list[list[int]]:
    """Prefill every prompt in its own slot, then decode all slots together."""
    slots = np.arange(len(prompts))
    tokens = np.array([prefill(model, slot, prompt, 64)[-1].argmax() for slot, prompt in enumerate(prompts)])
    positions = np.array([len(prompt) for prompt in prompts])
    out = [tokens]
    for _ in range(count - 1):
        out.append(model.step(out[-1], positions, slots, slots).argmax(axis=1))
        positions = positions + 1
    return np.stack(out, axis=1).tolist()


@pytest.mark.parametrize("experts", ["dense", "routed"])
def test_batch_of_eight_equals_batches_of_one(tiny_folder: Path, prompts: list[np.ndarray], experts) -> None:
    with Checkpoint.open(tiny_folder) as checkpoint:
        config = read_config(checkpoint)
        weights = load_weights(checkpoint, config, precision="w4a16", experts=experts)
    together = greedy(Model(weights, config, slots=8, max_seq_len=400), prompts, 40)
    alone = [greedy(Model(weights, config, slots=1, max_seq_len=400), [prompt], 40)[0] for prompt in prompts]
    assert together == alone
    assert len({token for row in alone for token in row}) > 20


def test_w4a4_decodes_as_it_prefills(tiny_folder: Path, prompts: list[np.ndarray]) -> None:
    with Checkpoint.open(tiny_folder) as checkpoint:
        config = read_config(checkpoint)
        exact = load_weights(checkpoint, config, precision="w4a16", experts="dense")
        rounded = load_weights(checkpoint, config, precision="w4a4", experts="dense")
    expected = forward(prompts[4], rounded, config)
    assert relative_rms(forward(prompts[4], exact, config), expected) > 0.02
    # an activation at a rounding boundary may fall to either side, so this agrees less closely than w4a16
    assert relative_rms(prefill(Model(rounded, config, slots=1, max_seq_len=400), 0, prompts[4], 9), expected) < 0.02


def test_greedy_continuations_of_the_sample_are_those_of_transformers(sample: Path) -> None:
    reference = np.load(sample.parent / "reference.npz")
    with Checkpoint.open(sample) as checkpoint:
        config = read_config(checkpoint)
        weights = load_weights(checkpoint, config, precision="w4a16", experts="dense")
    lengths = reference["greedy_lengths"]
    assert lengths.max() > 300 > 128 > lengths.min()
    prompts = [row[:length] for row, length in zip(reference["greedy_prompts"], lengths, strict=True)]
    found = greedy(Model(weights, config, slots=8, max_seq_len=512), prompts, 48)
    assert found == reference["greedy_tokens"].tolist()

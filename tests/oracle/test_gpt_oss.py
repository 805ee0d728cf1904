"""The CPU runtime against transformers, fp32 and eager, on the same weights dequantised.

Run in an environment with the extra ``oracle``: ``python -m pytest -m oracle``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toolkit.checkpoint.source import Checkpoint
from toolkit.engine.runtime.cpu.model import Model
from toolkit.engine.runtime.cpu.weights import load_weights, read_config
from toolkit.numerics.gpt_oss import GptOssConfig, Weights, forward
from toolkit.numerics.rope import frequencies

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
files = pytest.importorskip("safetensors.torch")

pytestmark = pytest.mark.oracle

E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0)
DEFAULT, MLP_ONLY, SHARDED, SOURCE = (
    "tiny-gpt-oss-nvfp4-modelopt-0.37",
    "tiny-gpt-oss-nvfp4-mlponly-modelopt-0.37",
    "tiny-gpt-oss-nvfp4-sharded-modelopt-0.37",
    "tiny-gpt-oss-bf16",
)


def dequantized(folder: Path) -> dict[str, Any]:
    """Every weight in float32 by torch arithmetic and the safetensors library, nothing of the toolkit's."""
    stored: dict[str, Any] = {}
    for shard in sorted(folder.glob("*.safetensors")):
        stored |= files.load_file(shard)
    weights = {}
    for name, tensor in stored.items():
        if name.endswith(("_scale", "_scale_2")):
            continue
        if tensor.dtype == torch.uint8:
            fused = not name.endswith(".weight")
            scale = stored[f"{name}_weight_scale" if fused else f"{name}_scale"].float()
            scale = scale * stored[f"{name}_weight_scale_2" if fused else f"{name}_scale_2"]
            dim = tensor.ndim - 2 if fused else tensor.ndim - 1
            codes = torch.stack([tensor & 15, tensor >> 4], dim=dim + 1).flatten(dim, dim + 1)
            tensor = torch.tensor(E2M1)[codes.long()] * scale.repeat_interleave(16, dim=dim)
        weights[name] = tensor.float()
    return weights


def reference(folder: Path) -> Any:
    settings = json.loads((folder / "config.json").read_text())
    settings.pop("quantization_config", None)
    settings["dtype"] = "float32"
    config = transformers.GptOssConfig(**settings)
    model = transformers.GptOssForCausalLM._from_config(config, attn_implementation="eager")
    model.load_state_dict(dequantized(folder))
    return model.float().eval()


def load(folder: Path) -> tuple[Weights, GptOssConfig]:
    with Checkpoint.open(folder) as checkpoint:
        config = read_config(checkpoint)
        return load_weights(checkpoint, config, precision="w4a16", experts="dense"), config


@pytest.fixture(params=["sample", DEFAULT, MLP_ONLY, SHARDED, SOURCE])
def folder(request: pytest.FixtureRequest, sample: Path) -> Path:
    if request.param == "sample":
        if not sample.is_dir():
            pytest.skip("the sample checkpoint is not here")
        return sample
    return Path(request.getfixturevalue("shared_fixtures")) / str(request.param)


def logits_of(model: Any, tokens: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return np.asarray(model(input_ids=torch.from_numpy(tokens[None])).logits[0].numpy())


def relative_rms(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.sqrt(np.mean((found - expected) ** 2) / np.mean(expected**2)))


@pytest.mark.parametrize("length", [48, 129, 340, 700])
def test_logits(folder: Path, length: int) -> None:
    weights, config = load(folder)
    tokens = np.random.default_rng(length).integers(0, config.vocab_size, length)
    expected = logits_of(reference(folder), tokens)
    assert relative_rms(forward(tokens, weights, config), expected) < 1e-5
    model, found = Model(weights, config, slots=1, max_seq_len=length), []
    for begin in range(0, length, 100):
        part = tokens[begin : begin + 100]
        rows = np.arange(len(part))
        found.append(model.step(part, begin + rows, 0 * rows, rows))
    assert relative_rms(np.concatenate(found), expected) < 1e-5


def test_greedy_continuations_equal_generate(folder: Path) -> None:
    weights, config = load(folder)
    random, count = np.random.default_rng(1), 48
    prompts = [random.integers(3, config.vocab_size, length) for length in (1, 9, 60, 127, 128, 129, 200, 330)]
    source = reference(folder)
    expected = []
    for prompt in prompts:
        generated = source.generate(
            torch.from_numpy(prompt[None]),
            attention_mask=torch.ones((1, len(prompt)), dtype=torch.long),
            max_new_tokens=count,
            min_new_tokens=count,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )
        expected.append(generated[0, len(prompt) :].tolist())
    assert greedy(Model(weights, config, slots=8, max_seq_len=400), prompts, count) == expected


def greedy(model: Model, prompts: list[np.ndarray], count: int) -> list[list[int]]:
    slots, first = np.arange(len(prompts)), []
    for slot, prompt in enumerate(prompts):
        rows = np.arange(len(prompt))
        first.append(int(model.step(prompt, rows, np.full(len(prompt), slot), rows[-1:]).argmax()))
    out, positions = [np.array(first)], np.array([len(prompt) for prompt in prompts])
    for step in range(count - 1):
        out.append(model.step(out[-1], positions + step, slots, slots).argmax(axis=1))
    return np.stack(out, axis=1).tolist()


@pytest.mark.parametrize("truncate", [False, True])
def test_yarn_with_and_without_rounding_its_range(shared_fixtures: Path, tmp_path: Path, truncate: bool) -> None:
    source = shared_fixtures / DEFAULT
    scaling = {**json.loads((source / "config.json").read_text())["rope_scaling"], "truncate": truncate}
    for path in source.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "config.json").unlink()
    settings = json.loads((source / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**settings, "rope_scaling": scaling}))
    weights, config = load(tmp_path)
    model = reference(tmp_path)
    np.testing.assert_allclose(frequencies(config.rope), model.model.rotary_emb.inv_freq.numpy(), rtol=2e-6)
    tokens = np.random.default_rng(0).integers(0, 512, 340)
    assert relative_rms(forward(tokens, weights, config), logits_of(model, tokens)) < 1e-5


def test_the_sample_at_every_position_of_its_reference(sample: Path) -> None:
    stored = np.load(sample.parent / "reference.npz")
    expected = logits_of(reference(sample), stored["input_ids"].astype(np.int64))
    assert relative_rms(stored["logits"], expected[stored["positions"]]) < 1e-6

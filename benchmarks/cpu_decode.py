"""Decode speed of the CPU runtime's model step against transformers, fp32 eager, on the same dequantised weights.

Needs the extra ``oracle``. One thread each, greedy, the two interleaved; medians over the repeats.

    PYTHONPATH=. python benchmarks/cpu_decode.py [--checkpoint samples/tiny-gpt-oss/nvfp4]

Prints a table, then one JSON line.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before NumPy and torch load

import numpy as np
import torch
from machine import processor, versions
from transformers import DynamicCache, GptOssConfig, GptOssForCausalLM

from toolkit.checkpoint.source import Checkpoint
from toolkit.engine.runtime.cpu.model import Model
from toolkit.engine.runtime.cpu.weights import load_weights, read_config
from toolkit.numerics import bf16, nvfp4

ROOT = Path(__file__).parents[1]
SCALES = ("_scale", "_scale_2", "input_scale")


def reference_model(checkpoint: Checkpoint) -> GptOssForCausalLM:
    """transformers' own model with the checkpoint's weights dequantised to float32."""
    settings = {key: value for key, value in checkpoint.config.items() if key != "quantization_config"}
    config = GptOssConfig.from_dict(settings)
    config._attn_implementation = "eager"
    model = GptOssForCausalLM(config).to(torch.float32).eval()
    names = [name for name in checkpoint.tensors if not name.endswith(SCALES)]
    model.load_state_dict({name: torch.from_numpy(_dequantized(checkpoint, name)) for name in names})
    return model


def _dequantized(checkpoint: Checkpoint, name: str) -> np.ndarray[Any, Any]:
    array = checkpoint.array(name)
    if array.dtype != np.uint8:
        return bf16.to_f32(array)
    fused = not name.endswith(".weight")
    prefix = f"{name}_weight" if fused else name
    scale_2 = float(checkpoint.array(f"{prefix}_scale_2"))
    return nvfp4.dequantize(array, checkpoint.array(f"{prefix}_scale"), scale_2, axis=-2 if fused else -1)


class Decoder(NamedTuple):
    """``prepare`` fills the cache with the prompts, ``decode`` makes the tokens; only the latter is timed."""

    prepare: Callable[[], None]
    decode: Callable[[], list[Any]]


def trtkit(checkpoint: Checkpoint, prompts: np.ndarray[Any, Any], steps: int) -> Decoder:
    config = read_config(checkpoint)
    weights = load_weights(checkpoint, config, precision="w4a16", experts="dense")
    batch, context = prompts.shape
    model = Model(weights, config, slots=batch, max_seq_len=context + steps + 1)
    slots = np.arange(batch)

    def prepare() -> None:
        for slot in slots:
            model.step(prompts[slot], np.arange(context), np.full(context, slot), np.array([context - 1]))

    def decode() -> list[Any]:
        tokens, out = prompts[:, -1], []
        for step in range(steps):
            tokens = model.step(tokens, np.full(batch, context + step), slots, slots).argmax(axis=1)
            out.append(tokens.tolist())
        return out

    return Decoder(prepare, decode)


def transformers(model: GptOssForCausalLM, prompts: np.ndarray[Any, Any], steps: int) -> Decoder:
    first = torch.from_numpy(prompts)
    filled = DynamicCache(config=model.config)
    with torch.inference_mode():
        model(input_ids=first, past_key_values=filled, use_cache=True, logits_to_keep=1)
    caches: list[DynamicCache] = []

    def prepare() -> None:
        caches[:] = [copy.deepcopy(filled)]

    def decode() -> list[Any]:
        tokens, out = first[:, -1:], []
        with torch.inference_mode():
            for _ in range(steps):
                logits = model(input_ids=tokens, past_key_values=caches[0], use_cache=True).logits
                tokens = logits[:, -1].argmax(dim=-1, keepdim=True)
                out.append(tokens[:, 0].tolist())
        return out

    return Decoder(prepare, decode)


def timed(decoder: Decoder) -> tuple[float, list[Any]]:
    decoder.prepare()
    begin = time.perf_counter()
    out = decoder.decode()
    return time.perf_counter() - begin, out


def measure(checkpoint: Checkpoint, batch: int, arguments: argparse.Namespace) -> dict[str, Any]:
    random = np.random.default_rng(0)
    prompts = random.integers(0, checkpoint.config["vocab_size"], (batch, arguments.context))
    ours = trtkit(checkpoint, prompts, arguments.steps)
    theirs = transformers(reference_model(checkpoint), prompts, arguments.steps)
    seconds: dict[str, list[float]] = {"trtkit": [], "transformers": []}
    for repeat in range(arguments.repeats + 1):
        (fast, tokens), (slow, expected) = timed(ours), timed(theirs)
        if tokens != expected:
            raise SystemExit("the two chose different tokens: the timing would mean nothing")
        if repeat:  # the first one warms up
            seconds["trtkit"].append(fast)
            seconds["transformers"].append(slow)
    speed = {name: batch * arguments.steps / statistics.median(values) for name, values in seconds.items()}
    pairs = zip(seconds["transformers"], seconds["trtkit"], strict=True)
    return {
        "batch": batch,
        **{f"{name}_tok_s": round(value, 1) for name, value in speed.items()},
        "ratio": round(statistics.median(slow / fast for slow, fast in pairs), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=ROOT / "samples" / "tiny-gpt-oss" / "nvfp4")
    parser.add_argument("--context", type=int, default=256, help="tokens in the cache at the first measured step")
    parser.add_argument("--steps", type=int, default=32, help="measured tokens per sequence")
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with Checkpoint.open(arguments.checkpoint) as checkpoint:
        rows = [measure(checkpoint, batch, arguments) for batch in (1, 8)]
    environment = {"processor": processor(), "threads": 1, **versions("numpy", "torch", "transformers")}
    print(f"decode, one thread, CPU: {environment['processor']}, medians of {arguments.repeats}")
    print("  ".join(f"{key} {environment[key]}" for key in ("python", "numpy", "torch", "transformers")))
    print(f"\n{arguments.checkpoint.name}, context {arguments.context}, {arguments.steps} tokens a sequence")
    for row in rows:
        print(
            f"batch {row['batch']}: trtkit {row['trtkit_tok_s']:8.1f} tok/s   "
            f"transformers {row['transformers_tok_s']:8.1f} tok/s   ratio {row['ratio']:.2f}"
        )
    settings = {"context": arguments.context, "steps": arguments.steps, "repeats": arguments.repeats}
    print()
    print(json.dumps({"benchmark": "cpu_decode", "environment": environment, **settings, "results": rows}))


if __name__ == "__main__":
    main()

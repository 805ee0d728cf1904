"""Reference numbers from Hugging Face transformers on the NVFP4 weights: FP32 arithmetic, eager attention.

The weights of attention and experts are dequantised to FP32; activations are not quantised (W4A16).
Writes reference.npz and prints greedy samples as Markdown.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from dequantize import dequantized, load
from tokenizers import Tokenizer
from torch import Tensor
from transformers import GptOssConfig, GptOssForCausalLM

LENGTHS = (5, 17, 60, 129, 140, 200, 310, 400)  # on both sides of the sliding window of 128
NEW_TOKENS = 48
POSITIONS = 48
USER = "<|start|>user<|message|>{}<|end|><|start|>assistant"
SAMPLES = (
    "This module provides",
    "If the file does not exist, the function",
    "A thread is",
    USER.format("What is a generator?"),
    USER.format("Explain the datetime module."),
)


def build(folder: Path) -> GptOssForCausalLM:
    settings = json.loads((folder / "config.json").read_text())
    settings.pop("quantization_config")
    settings["dtype"] = "float32"
    model = GptOssForCausalLM._from_config(GptOssConfig(**settings), attn_implementation="eager")
    model.load_state_dict(dequantized(load(folder)))
    return model.float().eval()


@torch.no_grad()
def greedy(model: GptOssForCausalLM, prompt: list[int], count: int, stop: set[int]) -> tuple[list[int], list[float]]:
    """Greedy tokens and, for each, by how much its logit leads the second. No KV cache, so nothing depends on one."""
    ids, margins = list(prompt), []
    while len(ids) - len(prompt) < count and not (len(ids) > len(prompt) and ids[-1] in stop):
        logits: Tensor = model(input_ids=torch.tensor([ids]), use_cache=False, logits_to_keep=1).logits[0, -1]
        best = logits.topk(2)
        ids.append(int(best.indices[0]))
        margins.append(float(best.values[0] - best.values[1]))
    return ids[len(prompt) :], margins


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path, help="NVFP4 checkpoint made by quantize.py")
    parser.add_argument("heldout", type=Path, help="heldout.txt made by corpus.py")
    parser.add_argument("out", type=Path, help="the .npz file to write")
    args = parser.parse_args()

    torch.manual_seed(0)
    tokenizer = Tokenizer.from_file(str(args.checkpoint / "tokenizer.json"))
    model = build(args.checkpoint)
    paragraphs = args.heldout.read_text(encoding="utf-8").split("\n\n")

    def prompt(part: int, length: int) -> list[int]:
        """The first tokens from the start of a paragraph, the parts evenly spread over the text."""
        text = "\n\n".join(paragraphs[part * len(paragraphs) // (len(LENGTHS) + 2) :])
        return tokenizer.encode(text, add_special_tokens=False).ids[:length]

    input_ids = prompt(len(LENGTHS), 400)
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([input_ids]), use_cache=False).logits[0]
    kept = np.arange(len(input_ids) - POSITIONS, len(input_ids), dtype=np.int32)

    prompts = [prompt(part, length) for part, length in enumerate(LENGTHS)]
    runs = [greedy(model, ids, NEW_TOKENS, stop=set()) for ids in prompts]  # a stop token does not end these
    padded = np.full((len(prompts), max(LENGTHS)), model.config.pad_token_id, dtype=np.int32)
    for row, ids in zip(padded, prompts, strict=True):
        row[: len(ids)] = ids
    margins = np.array([run[1] for run in runs], dtype=np.float32)
    np.savez_compressed(
        args.out,
        input_ids=np.array(input_ids, dtype=np.int32), positions=kept, logits=logits[kept.tolist()].numpy(),
        greedy_prompts=padded, greedy_lengths=np.array(LENGTHS, dtype=np.int32),
        greedy_tokens=np.array([run[0] for run in runs], dtype=np.int32), greedy_margins=margins,
    )  # fmt: skip
    print(f"smallest greedy margin per prompt: {margins.min(axis=1).round(4).tolist()}\n")
    top = logits[kept.tolist()].topk(2).values
    print(f"smallest margin of the kept logits: {(top[:, 0] - top[:, 1]).min():.4f}\n")

    stop = {tokenizer.token_to_id(token) for token in ("<|return|>", "<|endoftext|>", "<|call|>")}
    for text in SAMPLES:
        ids, _ = greedy(model, tokenizer.encode(text, add_special_tokens=False).ids, 60, stop)
        print(f"```text\n{text}⟶{tokenizer.decode(ids, skip_special_tokens=False)}\n```\n")


if __name__ == "__main__":
    main()

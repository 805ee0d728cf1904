"""Quantise the BF16 checkpoint with NVIDIA ModelOpt: NVFP4_DEFAULT_CFG, attention included, KV cache left alone."""

from __future__ import annotations

import argparse
import shutil
from collections import Counter
from functools import partial
from pathlib import Path

import modelopt.torch.quantization as mtq
import torch
from dequantize import check
from modelopt.torch.export import export_hf_checkpoint
from modelopt.torch.quantization.qtensor import nvfp4_tensor
from tokenizers import Tokenizer
from torch import Tensor
from transformers import GptOssForCausalLM
from transformers.models.gpt_oss.modeling_gpt_oss import GptOssTopKRouter

WINDOW = 512


def calibration(source: Path, corpus: Path, windows: int) -> Tensor:
    """The last windows of the held-out text; heldout.txt, the benchmark prompts, is its beginning."""
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    ids = tokenizer.encode((corpus / "valid.txt").read_text(encoding="utf-8"), add_special_tokens=False).ids
    return torch.tensor(ids[-windows * WINDOW :]).view(windows, WINDOW)


def count_routed(model: GptOssForCausalLM) -> dict[str, Counter[int]]:
    """Counts the tokens that reach each expert, so that an expert without calibration data is noticed."""
    routed: dict[str, Counter[int]] = {}

    def hook(name: str, _module: torch.nn.Module, _inputs: object, outputs: tuple[Tensor, Tensor]) -> None:
        routed[name].update(outputs[1].flatten().tolist())

    for name, module in model.named_modules():
        if isinstance(module, GptOssTopKRouter):
            routed[name] = Counter()
            module.register_forward_hook(partial(hook, name))
    return routed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, help="BF16 checkpoint made by train.py")
    parser.add_argument("corpus", type=Path, help="folder made by corpus.py")
    parser.add_argument("out", type=Path, help="folder for the NVFP4 checkpoint")
    parser.add_argument("--windows", type=int, default=96, help="calibration windows of 512 tokens")
    parser.add_argument("--shard-size", default="2MB")
    args = parser.parse_args()

    # ModelOpt 0.37.0 asks a CUDA device for its capability here, unconditionally. The answer opens an optional
    # TensorRT-LLM path only; without a CUDA device it has to be "no". No byte of the export depends on it.
    if not torch.cuda.is_available():
        nvfp4_tensor.fp4_compatible = lambda: False

    # On the CPU each expert sees the tokens routed to it, which is what it sees when it serves.
    model = GptOssForCausalLM.from_pretrained(args.source, dtype=torch.bfloat16, attn_implementation="eager").eval()
    batches = calibration(args.source, args.corpus, args.windows).split(8)
    routed = count_routed(model)

    def feed(quantized: torch.nn.Module) -> None:
        with torch.no_grad():
            for ids in batches:
                quantized(input_ids=ids, use_cache=False)

    mtq.quantize(model, mtq.NVFP4_DEFAULT_CFG, feed)
    fewest = min(counts[expert] for counts in routed.values() for expert in range(model.config.num_local_experts))
    print(f"calibrated on {args.windows * WINDOW} tokens; the least used expert saw {fewest}")
    if not fewest:
        raise SystemExit("an expert saw no calibration token: raise --windows")

    # The export function passes no shard size on.
    model.save_pretrained = partial(model.save_pretrained, max_shard_size=args.shard_size)
    export_hf_checkpoint(model, dtype=torch.bfloat16, export_dir=args.out)
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        shutil.copy(args.source / name, args.out / name)
    check(args.out)
    for path in sorted(args.out.iterdir()):
        print(f"{path.stat().st_size:>10} {path.name}")


if __name__ == "__main__":
    main()

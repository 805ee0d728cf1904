"""Train the sample model: a gpt-oss of 6.3 M parameters on the corpus made by corpus.py. Runs on CUDA or CPU."""

from __future__ import annotations

import argparse
import json
import math
import shutil
import time
from pathlib import Path

import torch
import torch.nn.functional as F
import transformers
from tokenizers import Tokenizer
from torch import Tensor
from transformers import GenerationConfig, GptOssConfig, GptOssForCausalLM
from transformers.models.gpt_oss.modeling_gpt_oss import GptOssTopKRouter

# All widths differ (192, 384, 96, 160, 320), so a transposed or mixed-up tensor cannot have the right shape.
GEOMETRY = {
    "hidden_size": 192, "intermediate_size": 160, "num_hidden_layers": 6, "num_attention_heads": 12,
    "num_key_value_heads": 3, "head_dim": 32, "num_local_experts": 8, "num_experts_per_tok": 2,
    "vocab_size": 2048, "sliding_window": 128,
}  # fmt: skip
CONTEXT = 512  # longer than the sliding window, or that window would never be seen


def build_config(tokenizer: Tokenizer) -> GptOssConfig:
    token = tokenizer.token_to_id
    return GptOssConfig(
        **GEOMETRY,
        layer_types=["sliding_attention", "full_attention"] * (GEOMETRY["num_hidden_layers"] // 2),
        rope_theta=150000,
        rope_scaling={
            "rope_type": "yarn", "factor": 32.0, "beta_fast": 32.0, "beta_slow": 1.0,
            "original_max_position_embeddings": 4096, "truncate": False,
        },
        max_position_embeddings=131072, initial_context_length=4096, rms_norm_eps=1e-5, hidden_act="silu",
        attention_bias=True, attention_dropout=0.0, swiglu_limit=7.0, router_aux_loss_coef=0.9,
        experts_per_token=GEOMETRY["num_experts_per_tok"], tie_word_embeddings=False, initializer_range=0.02,
        bos_token_id=token("<|startoftext|>"), eos_token_id=token("<|return|>"), pad_token_id=token("<|endoftext|>"),
        architectures=["GptOssForCausalLM"],
    )  # fmt: skip


def build_generation_config(tokenizer: Tokenizer) -> GenerationConfig:
    token = tokenizer.token_to_id
    return GenerationConfig(
        bos_token_id=token("<|startoftext|>"),
        do_sample=True,
        eos_token_id=[token("<|return|>"), token("<|endoftext|>"), token("<|call|>")],
        pad_token_id=token("<|endoftext|>"),
    )


def encode(tokenizer: Tokenizer, path: Path) -> Tensor:
    return torch.tensor(tokenizer.encode(path.read_text(encoding="utf-8"), add_special_tokens=False).ids)


class Balance:
    """Router load-balancing loss (Switch form): experts · Σ share of tokens · mean probability; 1 when even."""

    def __init__(self, model: GptOssForCausalLM) -> None:
        self.terms: list[Tensor] = []
        for module in model.modules():
            if isinstance(module, GptOssTopKRouter):
                module.register_forward_hook(self._hook)

    def _hook(self, router: GptOssTopKRouter, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, Tensor]) -> None:
        hidden = inputs[0].reshape(-1, inputs[0].shape[-1])
        probability = F.linear(hidden, router.weight, router.bias).float().softmax(-1).mean(0)
        share = F.one_hot(outputs[1], router.num_experts).float().sum(1).mean(0) / router.top_k
        self.terms.append(router.num_experts * (probability * share).sum())

    def take(self) -> Tensor:
        loss = torch.stack(self.terms).mean()
        self.terms.clear()
        return loss


def next_token_loss(model: GptOssForCausalLM, ids: Tensor) -> Tensor:
    with torch.autocast(ids.device.type, torch.bfloat16, enabled=ids.device.type == "cuda"):
        logits = model(input_ids=ids[:, :-1], use_cache=False).logits
    return F.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten())


@torch.no_grad()
def validate(model: GptOssForCausalLM, tokens: Tensor, batch: int, balance: Balance) -> float:
    windows = tokens[: (len(tokens) - 1) // CONTEXT * CONTEXT + 1].unfold(0, CONTEXT + 1, CONTEXT)
    losses = [next_token_loss(model, part).item() * len(part) for part in windows.split(batch)]
    balance.terms.clear()
    return sum(losses) / len(windows)


def optimizer_for(model: GptOssForCausalLM, args: argparse.Namespace) -> torch.optim.Optimizer:
    # Fused experts' biases are matrices too, hence the name test beside the dimension test.
    named = list(model.named_parameters())
    plain = [p for n, p in named if p.dim() < 2 or n.endswith("_bias")]
    decayed = [p for n, p in named if not (p.dim() < 2 or n.endswith("_bias"))]
    groups = [{"params": decayed, "weight_decay": args.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=args.lr, betas=(0.9, 0.95))


def learning_rate(step: int, args: argparse.Namespace) -> float:
    if step < args.warmup:
        return args.lr * (step + 1) / args.warmup
    progress = (step - args.warmup) / (args.steps - args.warmup)
    return args.lr * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path, help="folder made by corpus.py")
    parser.add_argument("tokenizer", type=Path, help="folder made by tokenizer.py")
    parser.add_argument("out", type=Path, help="folder for the BF16 checkpoint")
    parser.add_argument("--steps", type=int, default=1700)
    parser.add_argument("--batch", type=int, default=24, help="sequences of 512 tokens a step")
    parser.add_argument("--lr", type=float, default=4e-3)
    parser.add_argument("--warmup", type=int, default=100)
    parser.add_argument("--weight-decay", type=float, default=1.0)
    parser.add_argument("--balance", type=float, default=0.01, help="weight of the load-balancing loss")
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--every", type=int, default=100, help="steps between validations")
    args = parser.parse_args()

    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer = Tokenizer.from_file(str(args.tokenizer / "tokenizer.json"))
    train, valid = (encode(tokenizer, args.corpus / f"{name}.txt").to(device) for name in ("train", "valid"))
    torch.manual_seed(args.seed)
    model = GptOssForCausalLM._from_config(build_config(tokenizer), attn_implementation="eager").to(device)
    model.eval()  # no dropout to switch off; on CUDA this takes the batched experts, faster at this size
    balance, optimizer = Balance(model), optimizer_for(model, args)
    offsets = torch.Generator().manual_seed(args.seed)

    curve, best, best_state, start, running = [], math.inf, {}, time.time(), []
    for step in range(args.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, args)
        starts = torch.randint(len(train) - CONTEXT, (args.batch,), generator=offsets)
        ids = torch.stack([train[s : s + CONTEXT + 1] for s in starts.tolist()])
        loss = next_token_loss(model, ids)
        balancing = balance.take()
        (loss + args.balance * balancing).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        running.append(loss.detach())
        if (step + 1) % args.every == 0 or step + 1 == args.steps:
            row = {"step": step + 1, "train": torch.stack(running).mean().item(), "balance": balancing.item()}
            row["valid"] = validate(model, valid, args.batch, balance)
            row = {name: round(value, 4) for name, value in row.items()}
            curve, running = [*curve, row], []
            print(row, f"{time.time() - start:.0f} s", flush=True)
            if row["valid"] < best:
                best = row["valid"]
                best_state = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}

    model.load_state_dict(best_state)
    model.to(torch.bfloat16).cpu()
    model.generation_config = build_generation_config(tokenizer)
    model.save_pretrained(args.out)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(args.tokenizer / name, args.out / name)
    record = {
        "settings": {k: v for k, v in vars(args).items() if not isinstance(v, Path)}, "context": CONTEXT,
        "parameters": sum(p.numel() for p in model.parameters()), "train_tokens": len(train),
        "seen_tokens": args.steps * args.batch * CONTEXT, "best_valid": best, "perplexity": round(math.exp(best), 2),
        "seconds": round(time.time() - start), "torch": torch.__version__, "transformers": transformers.__version__,
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu", "curve": curve,
    }  # fmt: skip
    (args.out.parent / f"{args.out.name}-training.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()

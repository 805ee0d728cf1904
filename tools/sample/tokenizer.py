"""Train the byte-level BPE tokenizer: 2048 entries, the Harmony special tokens last (as in gpt-oss)."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

VOCABULARY = 2048
# The order of o200k_harmony.
SPECIAL = [
    "<|startoftext|>", "<|endoftext|>", "<|return|>", "<|constrain|>", "<|channel|>",
    "<|start|>", "<|end|>", "<|message|>", "<|call|>",
]  # fmt: skip
SPLIT_SPECIAL = r"<\|[a-z]+\|>"


def train(text: str) -> Tokenizer:
    from tokenizers import Regex

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    # Special tokens never reach the trainer, so no merge is spent on their spelling.
    pieces = pre_tokenizers.Split(Regex(SPLIT_SPECIAL), "removed").pre_tokenize_str(text)
    tokenizer.train_from_iterator((piece for piece, _ in pieces), trainer)
    tokenizer.add_special_tokens(SPECIAL)
    assert tokenizer.get_vocab_size() == VOCABULARY
    return tokenizer


def save(tokenizer: Tokenizer, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "added_tokens_decoder": {
            str(tokenizer.token_to_id(token)): {
                "content": token, "lstrip": False, "normalized": False, "rstrip": False,
                "single_word": False, "special": True,
            }
            for token in SPECIAL
        },
        "bos_token": "<|startoftext|>",
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|return|>",
        "extra_special_tokens": {},
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": 131072,
        "pad_token": "<|endoftext|>",
        "tokenizer_class": "PreTrainedTokenizerFast",
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path, help="folder made by corpus.py")
    parser.add_argument("out", type=Path, help="folder for tokenizer.json and tokenizer_config.json")
    args = parser.parse_args()
    text = (args.corpus / "train.txt").read_text(encoding="utf-8")
    tokenizer = train(text)
    save(tokenizer, args.out)
    for name in ("train", "valid"):
        part = (args.corpus / f"{name}.txt").read_text(encoding="utf-8")
        count = len(tokenizer.encode(part, add_special_tokens=False).ids)
        print(f"{name}: {count} tokens, {len(part) / count:.2f} characters a token")


if __name__ == "__main__":
    main()

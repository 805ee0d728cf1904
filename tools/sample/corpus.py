"""Make the training corpus from the reST sources of the Python documentation.

Output, in the target folder: `train.txt` and `valid.txt` (documents separated by <|endoftext|>), `heldout.txt`
(the first part of the held-out prose, documents separated by a blank line; no special tokens).
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

from rst import Block, blocks

HOW_TO_GET = """apt-get download python3.11-doc=3.11.2-6+deb12u9
dpkg -x python3.11-doc_3.11.2-6+deb12u9_all.deb pydoc
python corpus.py pydoc build/corpus"""
SOURCES = "usr/share/doc/python3.11/html/_sources"
# Not prose: the licence texts, bare link lists.
SKIPPED = {"license.rst.txt", "contents.rst.txt", "copyright.rst.txt"}
END = "<|endoftext|>"

SYSTEM = (
    "<|start|>system<|message|>You answer questions about Python.\n\nReasoning: low\n\n"
    "# Valid channels: analysis, commentary, final.<|end|>"
)
QUESTIONS = ("What is {}?", "What does {} do?", "Explain {}.", "Tell me about {}.", "How do I use {}?")
THOUGHTS = (
    "The user asks about {}. I will answer from the Python documentation.",
    "A question about {}. A short explanation is enough.",
    "I should explain {} in a few sentences.",
)


def document(found: list[Block]) -> str:
    return "\n\n".join(f"- {block.text}" if block.kind == "item" else block.text for block in found) + "\n"


def topics(found: list[Block]) -> list[tuple[str, str]]:
    """(topic, answer) pairs: a section title with its first paragraphs, a term with its description."""
    pairs = []
    for block, following, after in zip(found, found[1:], found[2:], strict=False):
        if block.kind == "title" and following.kind == "para" and len(following.text) > 60:
            more = after.text if after.kind == "para" and len(following.text) < 250 else ""
            pairs.append((block.text, f"{following.text}\n\n{more}".strip()))
        elif block.kind == "term" and ": " in block.text:
            term, answer = block.text.split(": ", 1)
            if len(answer) > 80 and 1 < len(term.split("(")[0]) < 60:
                pairs.append((term.split("(")[0], answer))
    return [(topic, answer) for topic, answer in pairs if len(topic) < 70 and not answer.endswith(":")]


def conversation(topic: str, answer: str, rng: random.Random) -> str:
    topic = topic.split(" - ")[0].rstrip(".?") if " - " in topic else topic.rstrip(".?")
    return (
        (SYSTEM if rng.random() < 0.3 else "")
        + f"<|start|>user<|message|>{rng.choice(QUESTIONS).format(topic)}<|end|>"
        + f"<|start|>assistant<|channel|>analysis<|message|>{rng.choice(THOUGHTS).format(topic)}<|end|>"
        + f"<|start|>assistant<|channel|>final<|message|>{answer}<|return|>"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("package", type=Path, nargs="?", help="folder the package was unpacked to")
    parser.add_argument("out", type=Path, nargs="?", help="target folder")
    parser.add_argument("--how-to-get", action="store_true", help="print the commands that fetch the sources")
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--held-out", type=float, default=0.05, help="share of the text held out, whole files")
    parser.add_argument("--chat", type=float, default=0.10, help="share of conversations in the training text")
    parser.add_argument("--heldout-bytes", type=int, default=80_000)
    args = parser.parse_args()
    if args.how_to_get:
        print(HOW_TO_GET)
        return
    if args.package is None or args.out is None:
        parser.error("package and out are needed (see --how-to-get)")

    root = args.package / SOURCES
    rng = random.Random(args.seed)
    paths = sorted(path for path in root.rglob("*.rst.txt") if path.name not in SKIPPED)
    rng.shuffle(paths)
    parsed = [(path, list(blocks(path.read_text(encoding="utf-8")))) for path in paths]
    texts = [document(found) for _, found in parsed]
    # Held out: files from the end of the shuffle. Only small and middling ones, so that several topics are covered.
    wanted, held = args.held_out * sum(map(len, texts)), []
    for n in reversed(range(len(texts))):
        if wanted > 0 and 2_000 < len(texts[n]) < 40_000:
            held.append(n)
            wanted -= len(texts[n])
    train = [n for n in range(len(texts)) if n not in set(held)]

    documents = [texts[n] for n in train]
    pairs = [pair for n in train for pair in topics(parsed[n][1])]
    rng.shuffle(pairs)
    room = sum(map(len, documents)) * args.chat / (1 - args.chat)
    chats = []
    while room > 0 and pairs:
        chats.append(conversation(*pairs.pop(), rng))
        room -= len(chats[-1])
    for chat in chats:  # spread between the documents, several in one place
        documents.insert(rng.randrange(len(documents) + 1), chat)

    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "train.txt").write_text(END.join(documents) + END, encoding="utf-8")
    (args.out / "valid.txt").write_text(END.join(texts[n] for n in held) + END, encoding="utf-8")
    sample = "\n".join(texts[n] for n in held).encode()[: args.heldout_bytes].decode(errors="ignore")
    (args.out / "heldout.txt").write_text(sample.rsplit("\n\n", 1)[0] + "\n", encoding="utf-8")
    for n in held:
        print(paths[n].relative_to(root))
    print(f"{len(train)} training files, {len(chats)} conversations, {sum(map(len, documents))} characters")
    print(f"{len(held)} held-out files, {sum(len(texts[n]) for n in held)} characters")


if __name__ == "__main__":
    main()

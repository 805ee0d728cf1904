"""Command lines of a plan for its release, checked against what that release knows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from toolkit.checkpoint.source import TOKENIZER
from toolkit.plan.types import Copy, Launch, Note
from toolkit.recipe import Recipe
from toolkit.trtllm import commands
from toolkit.trtllm.commands import Command
from toolkit.trtllm.tuned import Tuned

ARGS_FILE = "llm_args.yaml"
HUB_TOKENIZERS = {"Firworks/gpt-oss-120b-nvfp4": "openai/gpt-oss-120b"}
"""Published checkpoints without a tokenizer → the repository that has the model's."""
DATASET_SOURCE = "tensorrt_llm/bench/dataset/prepare_dataset.py"


class Tokenizer(NamedTuple):
    """What a dataset is made with: a Hub repository or a folder."""

    name: str
    is_folder: bool


def launch(recipe: Recipe, args: Mapping[str, Any] | None, found: Tuned | None, copies: Sequence[Copy]) -> Launch:
    """Command lines with the bundle's own paths, in the order in which they are typed.

    ``args`` are the LLM arguments, None for a compiled engine; ``copies`` are the bundle's files that are copied.
    """
    bundle, release, engine = recipe.engine.output, str(recipe.target.release), recipe.engine
    model_dir, args_file = str(bundle / "checkpoint"), str(bundle / ARGS_FILE)
    if args is None:
        argv = commands.build(
            release,
            model_dir,
            str(bundle / "engine"),
            max_batch_size=engine.max_batch_size,
            max_num_tokens=engine.max_num_tokens,
            max_seq_len=engine.max_seq_len,
            gemm_plugin="nvfp4",
            workers=recipe.target.parallel.tp,
        )
        return Launch({"build": Command(tuple(argv))}, {})
    isl, osl, concurrency = recipe.bench.isl[0], recipe.bench.osl[0], recipe.bench.concurrency[-1]
    dataset = f"dataset-{isl}-{osl}.jsonl"
    # trtllm-bench refuses a folder as --model: the recipe's name stands for a checkpoint that is not on the Hub
    model = recipe.checkpoint.repo or recipe.name
    bench = commands.bench(release, model, model_dir, args_file, dataset, args=args, concurrency=concurrency)
    lines = {"serve": Command(tuple(commands.serve(release, model_dir, args_file)))}
    if (tokenizer := _tokenizer(recipe, copies)) and _is_taken(tokenizer, release):
        lines["dataset"] = commands.prepare_dataset(
            release,
            tokenizer.name,
            dataset,
            requests=recipe.bench.requests,
            isl=isl,
            osl=osl,
            is_folder=tokenizer.is_folder,
        )
    lines["bench"] = Command(tuple(bench))
    return Launch(lines, commands.triton_model_yaml(args, model=model_dir), dict(found.env) if found else {})


def notes(recipe: Recipe, copies: Sequence[Copy]) -> Iterator[Note]:
    """Why there is no line that makes the bench's dataset, where there is none."""
    tokenizer, release = _tokenizer(recipe, copies), str(recipe.target.release)
    if recipe.target.backend == "tensorrt":
        return
    if tokenizer is None:
        yield Note(f"no line makes the bench's dataset: it needs a {TOKENIZER}", DATASET_SOURCE)
    elif not _is_taken(tokenizer, release):
        what = (
            f"no line makes the bench's dataset: in {release} `trtllm-bench prepare-dataset` takes the tokenizer of a "
            "Hub repository as --model, not a folder; name one that has this tokenizer"
        )
        yield Note(what, DATASET_SOURCE)


def _tokenizer(recipe: Recipe, copies: Sequence[Copy]) -> Tokenizer | None:
    copied, repo = next((copy for copy in copies if copy.file == TOKENIZER), None), recipe.checkpoint.repo
    if repo is not None and copied is not None and copied.origin == "checkpoint":
        return Tokenizer(repo, is_folder=False)
    if repo in HUB_TOKENIZERS:
        return Tokenizer(HUB_TOKENIZERS[repo], is_folder=False)
    return Tokenizer(str(recipe.engine.output / "checkpoint"), is_folder=True) if copied is not None else None


def _is_taken(tokenizer: Tokenizer, release: str) -> bool:
    return not tokenizer.is_folder or commands.dataset_takes_folder(release)

"""Command lines and files that run a bundle on TensorRT-LLM, in the words of the release.

Every line passes ``check_flags`` for its release; PlanError where the release has no such tool.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from toolkit.errors import PlanError
from toolkit.trtllm.flags import Tool, check_flags
from toolkit.trtllm.span import order

CONFIG_SINCE = "1.2.0"
PREPARE_DATASET_SINCE = "1.2.0"
PREPARE_DATASET_SCRIPT_UNTIL = "1.3.0rc0"
"""NVIDIA's documents name the script in benchmarks/cpp for 1.0 to 1.2; 1.2 has both."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command line and the file that its standard output goes to, if any."""

    argv: tuple[str, ...]
    stdout: str | None = None

    @property
    def shell(self) -> str:
        """As typed in a shell."""
        line = shlex.join(self.argv)
        return line if self.stdout is None else f"{line} > {shlex.quote(self.stdout)}"


def serve(
    release: str,
    model_dir: str,
    args_file: str,
    *,
    tokenizer: str | None = None,
    host: str | None = None,
    port: int | None = None,
) -> list[str]:
    """``trtllm-serve`` of a model folder; the LLM arguments in ``args_file`` win over flags of the same meaning."""
    config = "--extra_llm_api_options" if order(release) < order(CONFIG_SINCE) else "--config"
    flags = {"--tokenizer": tokenizer, "--host": host, "--port": port, config: args_file}
    return _checked("trtllm-serve", release, ["trtllm-serve", model_dir, *_written(flags)])


def bench(
    release: str,
    model: str,
    model_dir: str,
    args_file: str,
    dataset: str,
    *,
    args: Mapping[str, Any],
    concurrency: int | None = None,
    num_requests: int | None = None,
    warmup: int | None = None,
    streaming: bool = True,
    report_json: str | None = None,
    request_json: str | None = None,
    eos_id: int | None = None,
) -> list[str]:
    """``trtllm-bench throughput`` of a model folder with the LLM arguments ``args`` that ``args_file`` holds.

    ``model`` is a Hub name: trtllm-bench refuses one that is a folder or file here. Layout, batch and token limits are
    written as flags as well: the report takes them from there, and with both limits given no heuristic sets them.
    ``eos_id`` −1 decodes past end tokens, the default of 1.0 to 1.2; 1.3 can take the tokenizer's where none is given.
    """
    kv_cache = args.get("kv_cache_config")
    fraction = kv_cache.get("free_gpu_memory_fraction") if isinstance(kv_cache, Mapping) else None
    flags = {
        "--backend": "pytorch",
        # both spellings are one option where --config exists, and this one is in every release
        "--extra_llm_api_options": args_file,
        "--dataset": dataset,
        "--tp": args.get("tensor_parallel_size"),
        "--pp": args.get("pipeline_parallel_size"),
        "--ep": args.get("moe_expert_parallel_size"),
        "--max_batch_size": args.get("max_batch_size"),
        "--max_num_tokens": args.get("max_num_tokens"),
        "--max_seq_len": args.get("max_seq_len"),
        "--kv_cache_free_gpu_mem_fraction": fraction,
        "--concurrency": concurrency,
        "--num_requests": num_requests,
        "--warmup": warmup,
        "--eos_id": eos_id,
        "--report_json": report_json,
        "--request_json": request_json,
    }
    line = ["trtllm-bench", "--model", model, "--model_path", model_dir, "throughput", *_written(flags)]
    return _checked("trtllm-bench", release, [*line, "--streaming"] if streaming else line)


def dataset_takes_folder(release: str) -> bool:
    """Whether ``prepare_dataset`` can take a tokenizer from a folder: the subcommand of trtllm-bench cannot."""
    return order(release) < order(PREPARE_DATASET_SCRIPT_UNTIL)


def prepare_dataset(
    release: str,
    tokenizer: str,
    output: str,
    *,
    requests: int,
    isl: int,
    osl: int,
    seed: int = 420,
    is_folder: bool = False,
) -> Command:
    """A dataset of random tokens: ``requests`` prompts of ``isl`` tokens, each answered with ``osl``.

    From 1.2 on a subcommand of trtllm-bench, which takes a Hub name only (its --model must not be a folder); before,
    and for a folder, a script in the release's source that prints the dataset. Raises ``PlanError`` for a folder where
    ``dataset_takes_folder`` says no.
    """
    if is_folder and not dataset_takes_folder(release):
        what = f"the tool of {release} takes a Hub repository, not a folder"
        raise PlanError(what, where="trtllm-bench prepare-dataset", hint="Name the repository that has the tokenizer")
    lengths = {
        "--num-requests": requests,
        "--input-mean": isl,
        "--output-mean": osl,
        "--input-stdev": 0,
        "--output-stdev": 0,
    }
    shape = ["token-norm-dist", *_written(lengths)]
    if is_folder or order(release) < order(PREPARE_DATASET_SINCE):
        script = ["python3", "benchmarks/cpp/prepare_dataset.py"]
        options = _written({"--tokenizer": tokenizer, "--random-seed": seed})
        return Command((*script, *options, "--stdout", *shape), stdout=output)
    options = _written({"--output": output, "--random-seed": seed})
    line = ["trtllm-bench", "--model", tokenizer, "prepare-dataset", *options, *shape]
    return Command(tuple(_checked("trtllm-bench", release, line)))


def build(
    release: str,
    checkpoint_dir: str,
    output_dir: str,
    *,
    max_batch_size: int | None = None,
    max_num_tokens: int | None = None,
    max_input_len: int | None = None,
    max_seq_len: int | None = None,
    gemm_plugin: str | None = None,
    workers: int | None = None,
) -> list[str]:
    """``trtllm-build`` of a TensorRT-LLM checkpoint (config.json and rank files, not a Hugging Face folder).

    The tool is gone after 1.3.0rc20, and gpt-oss never had this path.
    """
    flags = {
        "--checkpoint_dir": checkpoint_dir,
        "--output_dir": output_dir,
        "--max_batch_size": max_batch_size,
        "--max_num_tokens": max_num_tokens,
        "--max_input_len": max_input_len,
        "--max_seq_len": max_seq_len,
        "--gemm_plugin": gemm_plugin,
        "--workers": workers,
    }
    return _checked("trtllm-build", release, ["trtllm-build", *_written(flags)])


def triton_model_yaml(args: Mapping[str, Any], *, model: str, decoupled: bool = True) -> dict[str, Any]:
    """``model.yaml`` of Triton's ``llmapi`` model: the LLM's keywords and ``triton_config``.

    ``max_batch_size`` of ``triton_config`` stays 0 (one prompt a request). Streaming needs
    ``model_transaction_policy { decoupled: True }`` in config.pbtxt as well: the launcher turns auto-completion off.
    """
    own = {"model": model, "backend": "pytorch"}
    triton = {"triton_config": {"max_batch_size": 0, "decoupled": decoupled}}
    return {**own, **{key: value for key, value in args.items() if key not in own}, **triton}


def _written(flags: Mapping[str, object]) -> list[str]:
    """Flags and values as words; a flag whose value is None is left out."""
    return [word for flag, value in flags.items() if value is not None for word in (flag, str(value))]


def _checked(tool: Tool, release: str, argv: list[str]) -> list[str]:
    check_flags(tool, release, argv)
    return argv

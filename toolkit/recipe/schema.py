"""What a recipe may say. Every key has a type, a range and a description; anything else is an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, model_validator

from toolkit.recipe.base import Length, RecipePath, Section
from toolkit.recipe.scalars import Dumper
from toolkit.recipe.sweep import RunnerKind, SloSection, Strategy, VariantSection
from toolkit.recipe.workload import ArrivalSection, WorkloadSection

# owner/name as the Hub allows it; no segment is or holds '..'
REPO_PATTERN = r"^[A-Za-z0-9_]+([.-][A-Za-z0-9_]+)*/[A-Za-z0-9_]+([.-][A-Za-z0-9_]+)*$"
REVISION_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*$"
MODEL_NAME_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$"
PROFILED = frozenset(
    {
        "max_batch_size",
        "max_num_tokens",
        "max_seq_len",
        "kv_cache_dtype",
        "kv_cache_free_gpu_memory_fraction",
        "stream_interval",
    }
)
"""Keys of the engine section that ``engine.profile`` decides where the recipe does not give them."""


class CheckpointSection(Section):
    """Where the weights come from: a local folder, or a Hub repository at a revision."""

    path: RecipePath | None = Field(None, description="Folder that holds config.json and the safetensors files.")
    repo: str | None = Field(
        None,
        pattern=REPO_PATTERN,
        description="Hugging Face repository owner/name, for example Firworks/gpt-oss-120b-nvfp4.",
    )
    revision: str | None = Field(None, pattern=REVISION_PATTERN, description="Branch, tag or commit of `repo`.")
    tokenizer: RecipePath | None = Field(
        None, description="Folder with tokenizer.json; by default the checkpoint's own."
    )
    input_scales: RecipePath | None = Field(
        None, description="Folder of a calibrated NVFP4 export whose input scales are taken (casts from MXFP4)."
    )
    bf16: RecipePath | None = Field(
        None, description="Folder of the BF16 checkpoint these weights were quantised from (repairs block scales)."
    )

    @model_validator(mode="after")
    def _one_source(self) -> CheckpointSection:
        if (self.path is None) == (self.repo is None):
            raise ValueError("give exactly one of checkpoint.path and checkpoint.repo")
        if self.revision is not None and self.repo is None:
            raise ValueError("checkpoint.revision needs checkpoint.repo")
        return self


class ParallelSection(Section):
    """The parallel layout over GPUs."""

    tp: int = Field(1, ge=1, description="Tensor parallel size.")
    pp: int = Field(1, ge=1, description="Pipeline parallel size.")
    ep: int = Field(1, ge=1, description="MoE expert parallel size; MoE tensor parallel is tp / ep.")
    attention_dp: bool = Field(False, description="Data-parallel attention.")

    @model_validator(mode="after")
    def _ep_divides_tp(self) -> ParallelSection:
        if self.tp % self.ep:
            raise ValueError(f"ep {self.ep} does not divide tp {self.tp}. Choose ep among the divisors of tp")
        return self

    @property
    def moe_tp(self) -> int:
        return self.tp // self.ep


class TargetSection(Section):
    """What will run the bundle."""

    runtime: Literal["cpu", "tensorrt-llm"] = Field(description="The runtime adapter.")
    release: str | None = Field(None, description="TensorRT-LLM release, for example 1.2.1.")
    gpu: str | None = Field(None, description="GPU, for example b200.")
    backend: Literal["pytorch", "tensorrt"] = Field(
        "pytorch", description="PyTorch backend, or an engine compiled by trtllm-build (up to 1.3.0rc20)."
    )
    weights: Literal["auto", "nvfp4", "mxfp4", "bf16"] = Field(
        "auto", description="Format of the bundle's weights; auto keeps the checkpoint's where the target has it."
    )
    parallel: ParallelSection = ParallelSection()

    @model_validator(mode="after")
    def _release_and_gpu(self) -> TargetSection:
        if self.runtime == "tensorrt-llm" and (self.release is None or self.gpu is None):
            raise ValueError("runtime tensorrt-llm needs target.release and target.gpu, for example 1.2.1 and b200")
        return self


class EngineSection(Section):
    """The engine bundle and the limits it runs with."""

    output: RecipePath = Field(description="Folder of the engine bundle.")
    max_batch_size: int = Field(8, ge=1, description="Largest number of requests decoded together.")
    max_num_tokens: int = Field(512, ge=1, description="Tokens of one step over all requests, prefill and decode.")
    max_seq_len: int = Field(2048, ge=2, description="Prompt plus output tokens of one request.")
    kv_cache_dtype: Literal["auto", "fp8", "nvfp4"] = Field("auto", description="KV cache dtype (tensorrt-llm).")
    kv_cache_free_gpu_memory_fraction: float = Field(0.85, gt=0, le=1, description="Share of free GPU memory for KV.")
    stream_interval: int = Field(1, ge=1, description="Tokens per streamed response.")
    profile: Literal["latency", "throughput"] | None = Field(
        None,
        description="NVIDIA's tuned configuration: LLM arguments, and the keys above that the recipe does not give "
        "(tensorrt-llm).",
    )
    llm_args: dict[str, Any] = Field(
        {},
        description="Further LLM arguments, checked against the release. They win over the profile's; those that "
        "other keys stand for must say the same (tensorrt-llm).",
    )
    precision: Literal["w4a16", "w4a4"] = Field("w4a16", description="Activation precision (cpu).")
    experts: Literal["dense", "routed"] = Field(
        "dense", description="Hold expert weights in FP32, or dequantise an expert when a token is routed to it (cpu)."
    )
    threads: int = Field(1, ge=1, description="BLAS threads (cpu).")


class ServeSection(Section):
    """The Triton server."""

    repository: RecipePath = Field(description="Folder of the Triton model repository.")
    model_name: str = Field("tensorrt_llm", pattern=MODEL_NAME_PATTERN, description="Triton model name.")
    host: str = Field("127.0.0.1", description="Address to bind.")
    grpc_port: int = Field(0, ge=0, le=65535, description="0 picks a free port.")
    http_port: int = Field(0, ge=0, le=65535, description="0 picks a free port.")
    metrics_port: int = Field(0, ge=0, le=65535, description="0 picks a free port.")
    max_queue_size: int = Field(256, ge=1, description="Requests waiting for a slot before new ones are refused.")
    grace_s: float = Field(
        10.0, ge=0, le=86400, description="Seconds that running streams get to end when the server is stopped."
    )


class BenchSection(Section):
    """The sweep: every variant at every combination of isl × osl × concurrency, or as many as the strategy needs."""

    output: RecipePath = Field(description="Folder of the result records.")
    runner: RunnerKind = Field(
        "triton",
        description="What measures: our client through Triton, the engine in this process, or trtllm-bench.",
    )
    variants: tuple[VariantSection, ...] = Field(
        (), description="What is compared, each with a bundle of its own; by default the recipe as it is."
    )
    strategy: Strategy = Field(
        "auto",
        description="grid: every point. ladder: upwards until throughput, the SLO or the engine gives in. frontier: "
        "where the trade-off could still move. auto: frontier for four points or more of an ISL/OSL, else grid.",
    )
    order: Literal["variants", "rounds"] = Field(
        "variants",
        description="variants: all trials of one with one start. rounds: each repeat of all of them in turn, so that a "
        "drift of the machine meets all alike; a start for each.",
    )
    budget: float | None = Field(
        None, ge=0, description="GPU-minutes that the trials may take; a sweep goes on when it is raised."
    )
    slo: SloSection = Field(SloSection(), description="Limits whose highest concurrency is searched for.")
    workload: WorkloadSection = Field(WorkloadSection(), description="How long the requests of a point are.")
    arrival: ArrivalSection = Field(ArrivalSection(), description="When requests are sent.")
    isl: tuple[Length, ...] = Field((64,), min_length=1, description="Input sequence lengths, tokens.")
    osl: tuple[Length, ...] = Field((32,), min_length=1, description="Output sequence lengths, tokens.")
    concurrency: tuple[Length, ...] = Field((1,), min_length=1, description="Requests in flight.")
    requests: int = Field(8, ge=1, description="Requests measured at each point; at least the concurrency is used.")
    warmup: int = Field(2, ge=0, description="Unmeasured requests before each point, per unit of concurrency.")
    repeats: int | None = Field(
        None,
        ge=1,
        description="Trials of each point (grid; 1 by default), or of each one on the front and at the SLO (ladder, "
        "frontier; 3 by default).",
    )
    seed: int = Field(0, description="Seed of the prompts and of the order of trials.")
    prompts: RecipePath | None = Field(
        None, description="Text file that prompts are cut from; random token ids otherwise."
    )


class Recipe(Section):
    """A deployment from checkpoint to measured numbers."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", description="Short name, used in records.")
    checkpoint: CheckpointSection
    target: TargetSection
    engine: EngineSection
    serve: ServeSection
    bench: BenchSection

    @model_validator(mode="after")
    def _what_the_cpu_runtime_has(self) -> Recipe:
        if self.target.runtime != "cpu":
            return self
        usual = TargetSection(runtime="cpu")
        asked = {
            "target.backend": self.target.backend != usual.backend,
            "target.weights": self.target.weights != usual.weights,
            "target.parallel": self.target.parallel != usual.parallel,
            "engine.profile": self.engine.profile is not None,
            "engine.llm_args": bool(self.engine.llm_args),
        }
        if wrong := [key for key, is_asked in asked.items() if is_asked]:
            raise ValueError(f"{wrong[0]} is for runtime tensorrt-llm. Leave it out, or set target.runtime")
        return self

    def to_dict(self, mode: Literal["python", "json"] = "json") -> dict[str, Any]:
        """The resolved recipe as a file may hold it: what a profile decides is left to it, all else is written out."""
        data = self.model_dump(mode=mode, exclude_none=True)
        if self.engine.profile is not None:
            for key in PROFILED - self.engine.model_fields_set:
                del data["engine"][key]
        data["engine"]["llm_args"] = self.engine.llm_args  # where null is a value
        return data

    def absolute(self) -> Recipe:
        """The same recipe with every path absolute, to be read from any folder."""
        return Recipe.model_validate(_absolute(self.to_dict("python")))

    def to_yaml(self) -> str:
        """The resolved recipe as YAML."""
        return yaml.dump(self.to_dict(), Dumper=Dumper, sort_keys=False)


def _absolute(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _absolute(inner) for key, inner in value.items()}
    return value.absolute() if isinstance(value, Path) else value

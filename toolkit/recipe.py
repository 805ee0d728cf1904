"""Recipes: one strict YAML file a deployment. The only module that reads recipe YAML.

An unknown key, a wrong type or an impossible value is a ``RecipeError`` that names the file and line and, for a
misspelt key, the key that was probably meant. Paths written in a recipe file are found from that file's folder;
outputs, and paths given with ``--set``, from the current folder.
"""

from __future__ import annotations

import difflib
import json
import os.path
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from toolkit.errors import RecipeError


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CheckpointSection(Section):
    """Where the weights come from: a local folder, or a Hub repository at a revision."""

    path: Path | None = Field(None, description="Folder that holds config.json and the safetensors files.")
    repo: str | None = Field(None, description="Hugging Face repository, for example Firworks/gpt-oss-120b-nvfp4.")
    revision: str | None = Field(None, description="Branch, tag or commit of `repo`.")
    tokenizer: Path | None = Field(None, description="Folder with tokenizer.json; by default the checkpoint's own.")

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
            raise ValueError(f"ep {self.ep} does not divide tp {self.tp}")
        return self

    @property
    def moe_tp(self) -> int:
        return self.tp // self.ep

    @property
    def world_size(self) -> int:
        return self.tp * self.pp


class TargetSection(Section):
    """What will run the bundle."""

    runtime: Literal["cpu", "tensorrt-llm"] = Field(description="The runtime adapter.")
    release: str | None = Field(None, description="TensorRT-LLM release, for example 1.2.1.")
    gpu: str | None = Field(None, description="GPU, for example b200.")
    parallel: ParallelSection = ParallelSection()

    @model_validator(mode="after")
    def _release_and_gpu(self) -> TargetSection:
        if self.runtime == "tensorrt-llm" and (self.release is None or self.gpu is None):
            raise ValueError("runtime tensorrt-llm needs target.release and target.gpu")
        return self


class EngineSection(Section):
    """The engine bundle and the limits it runs with."""

    output: Path = Field(description="Folder of the engine bundle.")
    max_batch_size: int = Field(8, ge=1, description="Largest number of requests decoded together.")
    max_num_tokens: int = Field(512, ge=1, description="Tokens of one step over all requests, prefill and decode.")
    max_seq_len: int = Field(2048, ge=2, description="Prompt plus output tokens of one request.")
    kv_cache_dtype: Literal["auto", "fp8", "nvfp4"] = Field("auto", description="KV cache dtype (tensorrt-llm).")
    kv_cache_free_gpu_memory_fraction: float = Field(0.85, gt=0, le=1, description="Share of free GPU memory for KV.")
    stream_interval: int = Field(1, ge=1, description="Tokens per streamed response.")
    precision: Literal["w4a16", "w4a4"] = Field("w4a16", description="Activation precision (cpu).")
    experts: Literal["dense", "routed"] = Field(
        "dense", description="Hold expert weights in FP32, or dequantise an expert when a token is routed to it (cpu)."
    )
    threads: int = Field(1, ge=1, description="BLAS threads (cpu).")


class ServeSection(Section):
    """The Triton server."""

    repository: Path = Field(description="Folder of the Triton model repository.")
    model_name: str = Field("tensorrt_llm", pattern=r"^[A-Za-z0-9_.-]+$", description="Triton model name.")
    host: str = Field("127.0.0.1", description="Address to bind.")
    grpc_port: int = Field(0, ge=0, le=65535, description="0 picks a free port.")
    http_port: int = Field(0, ge=0, le=65535, description="0 picks a free port.")
    metrics_port: int = Field(0, ge=0, le=65535, description="0 picks a free port.")
    max_queue_size: int = Field(256, ge=1, description="Requests waiting for a slot before new ones are refused.")


class BenchSection(Section):
    """The sweep: every combination of isl × osl × concurrency, `repeats` times."""

    output: Path = Field(description="Folder of the result records.")
    isl: tuple[int, ...] = Field((64,), min_length=1, description="Input sequence lengths, tokens.")
    osl: tuple[int, ...] = Field((32,), min_length=1, description="Output sequence lengths, tokens.")
    concurrency: tuple[int, ...] = Field((1,), min_length=1, description="Requests in flight.")
    requests: int = Field(8, ge=1, description="Requests measured at each point; at least the concurrency is used.")
    warmup: int = Field(1, ge=0, description="Unmeasured requests before each point, per unit of concurrency.")
    repeats: int = Field(1, ge=1, description="Trials of each point.")
    seed: int = Field(0, description="Seed of the prompts and of the order of trials.")
    prompts: Path | None = Field(None, description="Text file that prompts are cut from; random token ids otherwise.")


class Recipe(Section):
    """A deployment from checkpoint to measured numbers."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", description="Short name, used in records.")
    checkpoint: CheckpointSection
    target: TargetSection
    engine: EngineSection
    serve: ServeSection
    bench: BenchSection

    def absolute(self) -> Recipe:
        """The same recipe with every path absolute, to be read from any folder."""
        return Recipe.model_validate(_absolute(self.model_dump(exclude_none=True)))

    def to_yaml(self) -> str:
        """The resolved recipe as YAML."""
        return yaml.safe_dump(self.model_dump(mode="json", exclude_none=True), sort_keys=False)


INPUT_PATHS = (("checkpoint", "path"), ("checkpoint", "tokenizer"), ("bench", "prompts"))


def load(path: Path, overrides: Iterable[str] = ()) -> Recipe:
    """Read the recipe at ``path`` and apply ``a.b=value`` overrides (values are YAML).

    Raises ``RecipeError`` with file and line for anything that does not fit the schema.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise RecipeError(f"cannot read it: {reason}", where=str(path), hint="Type: trtkit recipes ls") from None
    try:
        node = yaml.compose(text)
        data = _scalars(text)
    except yaml.YAMLError as error:
        line = getattr(getattr(error, "problem_mark", None), "line", 0) + 1
        problem = getattr(error, "problem", None) or "not YAML"
        raise RecipeError(f"not YAML: {problem}", where=f"{path}:{line}") from None
    if not isinstance(data, dict):
        raise RecipeError("a recipe is a mapping of sections", where=str(path))
    _anchor_inputs(data, path.parent)
    sources = _key_lines(node, path)
    for override in overrides:
        _apply(data, override, sources)
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        raise _explain(error, sources, path) from None


def schema() -> dict[str, Any]:
    """The JSON schema of a recipe file."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Recipe.model_json_schema()}


def schema_text() -> str:
    """``schema()`` as the committed file ``recipes/schema.json`` holds it."""
    return json.dumps(schema(), indent=2) + "\n"


def _absolute(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _absolute(inner) for key, inner in value.items()}
    return value.absolute() if isinstance(value, Path) else value


def _scalars(text: str) -> Any:
    """YAML with every scalar left as text: the schema knows the types, and release 1.10 must not become 1.1."""
    return _nulls(yaml.load(text, Loader=yaml.BaseLoader))


def _nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _nulls(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_nulls(inner) for inner in value]
    return None if value in ("", "~", "null") else value


def _anchor_inputs(data: dict[str, Any], folder: Path) -> None:
    for section, key in INPUT_PATHS:
        values = data.get(section)
        if isinstance(values, dict) and isinstance(values.get(key), str):
            # normalised lexically, so that a recipe in a linked folder keeps pointing beside the link
            values[key] = os.path.normpath(folder / Path(values[key]).expanduser())


def _key_lines(node: yaml.Node | None, path: Path, prefix: tuple[str, ...] = ()) -> dict[tuple[str, ...], str]:
    """Where each key stands: dotted key path → ``file:line``."""
    lines: dict[tuple[str, ...], str] = {}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*prefix, str(key.value))
            if here in lines:
                raise RecipeError(
                    f"{'.'.join(here)!r} stands twice", where=f"{path}:{key.start_mark.line + 1}", hint="Keep one"
                )
            lines[here] = f"{path}:{key.start_mark.line + 1}"
            lines |= _key_lines(value, path, here)
    return lines


def _apply(data: dict[str, Any], override: str, sources: dict[tuple[str, ...], str]) -> None:
    where = f"--set {override}"
    dotted, equals, text = override.partition("=")
    keys = tuple(dotted.split("."))
    if not equals or not all(keys):
        raise RecipeError("an override is key=value", where=where, hint="For example: --set target.gpu=b200")
    try:
        value = _scalars(text)
    except yaml.YAMLError:
        value = text
    section = data
    for key in keys[:-1]:
        inner = section.setdefault(key, {})
        if not isinstance(inner, dict):
            raise RecipeError(f"{key!r} is a value, not a section", where=where)
        section = inner
    section[keys[-1]] = value
    if keys == ("checkpoint", "path") and isinstance(data.get("checkpoint"), dict):
        # the new source replaces the old one as a whole
        data["checkpoint"].pop("repo", None)
        data["checkpoint"].pop("revision", None)
    elif keys == ("checkpoint", "repo") and isinstance(data.get("checkpoint"), dict):
        data["checkpoint"].pop("path", None)
    for depth in range(1, len(keys) + 1):
        sources.setdefault(keys[:depth], where)
    sources[keys] = where


def _explain(error: ValidationError, sources: Mapping[tuple[str, ...], str], path: Path) -> RecipeError:
    # a misspelt required key is both unknown and missing; the misspelling is what to say
    first = min(error.errors(include_url=False), key=lambda item: item["type"] != "extra_forbidden")
    keys = tuple(str(part) for part in first["loc"])
    where = next((sources[keys[:n]] for n in range(len(keys), 0, -1) if keys[:n] in sources), str(path))
    dotted = ".".join(keys)
    if first["type"] == "extra_forbidden":
        known = _known_keys(keys[:-1])
        near = difflib.get_close_matches(keys[-1], known, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Known keys: {', '.join(known)}"
        return RecipeError(f"unknown key {dotted!r}", where=where, hint=hint)
    if first["type"] == "missing":
        return RecipeError(f"missing key {dotted!r}", where=where, hint="Type: trtkit recipes show tiny-gpt-oss/cpu")
    message = first["msg"].removeprefix("Value error, ")
    shown = "" if first["type"] == "value_error" else f", not {first.get('input')!r}"
    return RecipeError(f"{dotted}: {message[0].lower()}{message[1:]}{shown}", where=where)


def _known_keys(keys: tuple[str, ...]) -> list[str]:
    model: type[BaseModel] = Recipe
    for key in keys:
        annotation = model.model_fields[key].annotation
        assert isinstance(annotation, type)
        assert issubclass(annotation, BaseModel)
        model = annotation
    return list(model.model_fields)

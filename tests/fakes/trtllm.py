"""The stand-in for TensorRT-LLM made importable, and a bundle for it whose token ids are bytes."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from tests.serving.toy import byte_tokenizer
from toolkit.checkpoint.files import sha256_file
from toolkit.engine.bundle import MANIFEST, SCHEMA_VERSION, Bundle
from toolkit.engine.runtime import open_engine as open_any
from toolkit.engine.runtime.protocol import Engine

FACTORY = "tests.fakes.trtllm:open_engine"
FOLDER = str(Path(__file__).parent)
RELEASES = ("1.1.0", "1.2.1", "1.3.0rc20")
ARGS = {
    "backend": "pytorch",
    "tensor_parallel_size": 2,
    "max_batch_size": 4,
    "max_num_tokens": 48,
    "max_seq_len": 64,
    "kv_cache_config": {"dtype": "fp8", "free_gpu_memory_fraction": 0.5},
    "stream_interval": 1,
    "num_postprocess_workers": 4,
}


def install(monkeypatch: pytest.MonkeyPatch, release: str = "1.2.1") -> None:
    """Let ``import tensorrt_llm`` find a fresh stand-in of that release."""
    monkeypatch.setenv("FAKE_TRTLLM_RELEASE", release)
    monkeypatch.syspath_prepend(FOLDER)
    forget(monkeypatch)


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the package out of what is imported, now and when the test ends."""
    files = (path.relative_to(FOLDER).with_suffix("") for path in Path(FOLDER, "tensorrt_llm").rglob("*.py"))
    ours = {".".join(file.parts).removesuffix(".__init__") for file in files}
    for name in ours | {name for name in sys.modules if name.partition(".")[0] == "tensorrt_llm"}:
        monkeypatch.setitem(sys.modules, name, sys.modules.get(name, ModuleType(name)))
        del sys.modules[name]


def open_engine(bundle: Bundle) -> Engine:
    """What the served model opens its engine with: the real way, where the stand-in can be imported."""
    if FOLDER not in sys.path:
        sys.path.insert(0, FOLDER)
    return open_any(bundle)


def write_bundle(
    folder: Path, *, release: str = "1.2.1", args: Mapping[str, Any] | None = None, config: str = '{"vocab_size": 257}'
) -> Bundle:
    checkpoint = folder / "checkpoint"
    checkpoint.mkdir(parents=True)
    byte_tokenizer().save(str(checkpoint / "tokenizer.json"))
    (checkpoint / "generation_config.json").write_text('{"eos_token_id": [256, 122]}')
    (checkpoint / "config.json").write_text(config)
    (folder / "llm_args.yaml").write_text(yaml.safe_dump({**ARGS, **(args or {})}, sort_keys=False))
    recipe = {
        "name": "fake",
        "checkpoint": {"path": "checkpoint"},
        "target": {"runtime": "tensorrt-llm", "release": release, "gpu": "b200", "parallel": {"tp": 2}},
        "engine": {"output": str(folder), "max_batch_size": 4, "max_num_tokens": 48, "max_seq_len": 64},
        "serve": {"repository": str(folder.parent / "repository")},
        "bench": {"output": str(folder.parent / "results")},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    files = {
        path.relative_to(folder).as_posix(): {"size": path.stat().st_size, "sha256": sha256_file(path)}
        for path in folder.rglob("*")
        if path.is_file()
    }
    manifest = {"schema_version": SCHEMA_VERSION, "identity": "fake", "weights": "fake", "files": files}
    (folder / MANIFEST).write_text(json.dumps({**manifest, "source": {}, "verified": {}}))
    return Bundle.open(folder)

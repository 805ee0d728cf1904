"""``trtkit engine`` against ``cp -r`` of the same files: a generated checkpoint with gpt-oss-120b's own expert shapes.

The checkpoint has ``--layers`` layers (two are 3.7 GB) in shards of one layer, quantised attention and experts as
ModelOpt 0.37 writes them: codes uniform, block scales as normal weights give them. From the checkout:

    PYTHONPATH=. python benchmarks/engine_build.py

Each side runs in a process of its own, in turn, ``--repeats`` times; the output is removed and the disk synced before
each. Once with the source in the page cache (warm), once without it (cold), as a checkpoint is that does not fit there:
``posix_fadvise`` drops it before each run, and mincore(2) says that it is gone. ``cp -r`` ends before its bytes are on
the disk and a build when they are, so ``cp -r`` followed by ``sync`` is timed as well. A ``cp -r`` that is not counted
goes before each run: a virtual machine's memory that nobody used for some seconds may first have to be given to it,
which takes a copy through the page cache several times as long. Builds:

    attention   NVFP4 for a B200: attention dequantised to BF16, all else unchanged
    mxfp4       NVFP4 experts to MXFP4 for an H100, attention dequantised
    check       ``trtkit engine --check`` of the attention bundle

A card is printed, then one JSON line: wall and processor seconds, ratios of wall seconds to ``cp -r`` and to ``cp -r``
and ``sync`` in the same state, and the process's peak resident memory.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import engine_build_cache as cache
import numpy as np
from machine import processor, versions

from toolkit.checkpoint.safetensors import ShardWriter
from toolkit.engine.workers import processors
from toolkit.numerics import nvfp4

ROOT = Path(__file__).parents[1]
HIDDEN, INTER, EXPERTS, HEADS, KV_HEADS, HEAD_DIM, VOCAB = 2880, 2880, 128, 64, 8, 64, 8192
TARGET = ("target.runtime=tensorrt-llm", "target.release=1.2.1", "engine.max_seq_len=4096")
BUILDS = {"attention": ("target.gpu=b200",), "mxfp4": ("target.gpu=h100",)}
Specs = dict[str, tuple[str, tuple[int, ...]]]


def layer(prefix: str) -> Specs:
    experts, attention = f"{prefix}mlp.experts.", f"{prefix}self_attn."
    specs: Specs = {}
    for name, (k, n) in {"gate_up_proj": (HIDDEN, 2 * INTER), "down_proj": (INTER, HIDDEN)}.items():
        specs |= {
            f"{experts}{name}": ("U8", (EXPERTS, k // 2, n)),
            f"{experts}{name}_weight_scale": ("F8_E4M3", (EXPERTS, k // 16, n)),
            f"{experts}{name}_weight_scale_2": ("F32", ()),
            f"{experts}{name}_input_scale": ("F32", ()),
            f"{experts}{name}_bias": ("BF16", (EXPERTS, n)),
        }
    q, kv = HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM
    for name, (out, k) in {"q": (q, HIDDEN), "k": (kv, HIDDEN), "v": (kv, HIDDEN), "o": (HIDDEN, q)}.items():
        specs |= {
            f"{attention}{name}_proj.weight": ("U8", (out, k // 2)),
            f"{attention}{name}_proj.weight_scale": ("F8_E4M3", (out, k // 16)),
            f"{attention}{name}_proj.weight_scale_2": ("F32", ()),
            f"{attention}{name}_proj.input_scale": ("F32", ()),
            f"{attention}{name}_proj.bias": ("BF16", (out,)),
        }
    return specs | {
        f"{attention}sinks": ("BF16", (HEADS,)),
        f"{prefix}mlp.router.weight": ("BF16", (EXPERTS, HIDDEN)),
        f"{prefix}mlp.router.bias": ("BF16", (EXPERTS,)),
        f"{prefix}input_layernorm.weight": ("BF16", (HIDDEN,)),
        f"{prefix}post_attention_layernorm.weight": ("BF16", (HIDDEN,)),
    }


def generate(folder: Path, layers: int) -> None:
    """Write the checkpoint."""
    folder.mkdir()
    around = {
        "model.embed_tokens.weight": (VOCAB, HIDDEN),
        "model.norm.weight": (HIDDEN,),
        "lm_head.weight": (VOCAB, HIDDEN),
    }
    shards = [layer(f"model.layers.{number}.") for number in range(layers)]
    shards.append({name: ("BF16", shape) for name, shape in around.items()})
    weight_map, total = {}, 0
    pools = {"U8": codes(), "F8_E4M3": scales(), "BF16": bf16_bits()}
    for number, specs in enumerate(shards, 1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        header = [(name, dtype, shape) for name, (dtype, shape) in specs.items()]
        with ShardWriter(folder / file, header, {"format": "pt"}) as writer:
            for name, info in writer.tensors.items():
                writer.write(name, pieces(info.dtype, info.nbytes, pools))
        weight_map |= dict.fromkeys(specs, file)
        total += sum(info.nbytes for info in writer.tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    for name, value in {"model.safetensors.index.json": index, **configuration(layers)}.items():
        (folder / name).write_text(json.dumps(value))


def pieces(dtype: str, nbytes: int, pools: dict[str, np.ndarray]) -> Iterator[bytes | np.ndarray]:
    if dtype == "F32":
        yield np.float32(2**-11).tobytes()
        return
    pool = pools[dtype]
    for begin in range(0, nbytes, pool.nbytes):
        yield pool[: min(pool.nbytes, nbytes - begin)]


def codes() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, 32 << 20, np.uint8)


def scales() -> np.ndarray:
    """Block scales of normal weights whose spread differs from block to block."""
    rng = np.random.default_rng(2)
    values = rng.standard_normal((1 << 19, 16)) * np.exp2(rng.normal(-6, 0.5, (1 << 19, 1)))
    return np.tile(nvfp4.quantize(values.astype(np.float32))[1].reshape(-1), 16)


def bf16_bits() -> np.ndarray:
    values = np.random.default_rng(3).standard_normal(4 << 20, np.float32)
    return (values.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)


def configuration(layers: int) -> dict[str, object]:
    producer = {"name": "modelopt", "version": "0.37.0"}
    fp4 = {"dynamic": False, "num_bits": 4, "type": "float", "group_size": 16}
    inline = {
        "config_groups": {"group_0": {"input_activations": fp4, "weights": fp4, "targets": ["Linear"]}},
        "ignore": ["lm_head"],
        "quant_algo": "NVFP4",
        "producer": producer,
        "quant_method": "modelopt",
    }
    config = json.loads((ROOT / "samples/tiny-gpt-oss/nvfp4/config.json").read_text()) | {
        "num_hidden_layers": layers,
        "hidden_size": HIDDEN,
        "intermediate_size": INTER,
        "num_local_experts": EXPERTS,
        "num_experts_per_tok": 4,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD_DIM,
        "vocab_size": VOCAB,
        "max_position_embeddings": 131072,
        "layer_types": [("sliding_attention", "full_attention")[number % 2] for number in range(layers)],
        "quantization_config": inline,
    }
    quantization = {
        "quant_algo": "NVFP4",
        "kv_cache_quant_algo": None,
        "group_size": 16,
        "exclude_modules": ["lm_head"],
    }
    quant = {"producer": producer, "quantization": quantization}
    return {"config.json": config, "hf_quant_config.json": quant, "tokenizer.json": {}}


@dataclass
class Side:
    """Of one side: wall and processor seconds of each run, and the largest resident set of its processes in bytes."""

    seconds: list[float] = field(default_factory=list)
    processor_seconds: list[float] = field(default_factory=list)
    max_rss: int = 0

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def timed(argv: list[str], side: Side) -> None:
    """Run a process to its end and note what it took."""
    # an installed package has its bytecode
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    begin = time.perf_counter()
    process = subprocess.Popen(argv, env={**environment, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{argv}: exit status {process.returncode}")
    side.seconds.append(round(time.perf_counter() - begin, 3))
    side.processor_seconds.append(round(usage.ru_utime + usage.ru_stime, 3))
    side.max_rss = max(side.max_rss, usage.ru_maxrss << 10)


def command(work: Path, kind: str) -> list[str]:
    overrides = (*TARGET, *BUILDS[kind], f"checkpoint.path={work / 'source'}", f"engine.output={work / kind}")
    argv = [sys.executable, "-c", "from toolkit.cli import main; main()", "engine"]
    argv.append(str(ROOT / "recipes/tiny-gpt-oss/cpu.yaml"))
    return argv + [word for override in overrides for word in ("--set", override)]


def measure(work: Path, repeats: int, state: str) -> dict[str, Side]:
    check = [sys.executable, "-c", "from toolkit.cli import main; main()", "engine", "--check", str(work / "attention")]
    sides = {
        "cp": ["cp", "-r", str(work / "source"), str(work / "cp")],
        "cp and sync": ["sh", "-c", 'cp -r "$0" "$1" && sync -f "$1"', str(work / "source"), str(work / "cp and sync")],
        **{kind: command(work, kind) for kind in BUILDS},
    }
    results = {name: Side() for name in (*sides, "check")}
    for _ in range(repeats):
        for name, argv in sides.items():
            prepare(work, state)
            timed(argv, results[name])
            if name == "attention":
                os.sync()
                {"warm": cache.load, "cold": cache.drop}[state](work / name / "checkpoint")
                timed(check, results["check"])
            shutil.rmtree(work / name)
    return results


def prepare(work: Path, state: str) -> None:
    """The disk at rest, memory at hand, and the source in the page cache or out of it."""
    timed(["cp", "-r", str(work / "source"), str(work / "not counted")], Side())
    shutil.rmtree(work / "not counted")
    os.sync()
    {"warm": cache.load, "cold": cache.drop}[state](work / "source")
    share = cache.resident(work / "source")
    if abs(share - (state == "warm")) > 0.02:
        raise SystemExit(f"{share:.0%} of the source are in the page cache, which is not {state}")


def card(state: str, results: dict[str, Side], nbytes: int) -> None:
    cp, synced = results["cp"].median, results["cp and sync"].median
    print(f"{state:13}     s    GB/s   x cp -r  x cp -r and sync   cpu s     MiB")
    for name, side in results.items():
        speed, work_done = nbytes / side.median / 1e9, statistics.median(side.processor_seconds)
        times = f"{side.median / cp:9.2f} {side.median / synced:17.2f}"
        print(f"  {name:12}{side.median:5.2f} {speed:7.2f} {times} {work_done:7.2f} {side.max_rss >> 20:7}")
    print()


def main() -> int:
    parser = argparse.ArgumentParser(description="trtkit engine against cp -r, on the shapes of gpt-oss-120b's experts")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--work", type=Path, help="Folder for some 12 GB; by default the temporary directory")
    parser.add_argument("--generate", type=Path, help="Only write the checkpoint to this folder")
    arguments = parser.parse_args()
    if arguments.generate:
        generate(arguments.generate, arguments.layers)
        return 0
    loads = [os.getloadavg()[0]]
    with tempfile.TemporaryDirectory(prefix="trtkit-build-", dir=arguments.work) as folder:
        work = Path(folder)
        # in a process of its own: a child's ru_maxrss begins with what its parent holds
        own = [sys.executable, __file__, "--layers", str(arguments.layers), "--generate", str(work / "source")]
        subprocess.run(own, check=True)
        nbytes = sum(path.stat().st_size for path in (work / "source").iterdir())
        timed(command(work, "attention"), Side())  # writes the bytecode
        shutil.rmtree(work / "attention")
        states = {state: measure(work, arguments.repeats, state) for state in ("warm", "cold")}
    loads.append(os.getloadavg()[0])
    environment = {"processor": processor(), "processors": processors(), **versions("numpy")}
    print(f"trtkit engine, {nbytes:,} bytes, {processors()} processors: {environment['processor']}")
    print(f"medians of {arguments.repeats}; load average before {loads[0]:.1f}, after {loads[1]:.1f}\n")
    for state, results in states.items():
        card(state, results, nbytes)
    document = {"benchmark": "build", "bytes": nbytes, "environment": environment, "load": loads}
    for base in ("cp", "cp and sync"):
        document[f"seconds to {base}"] = {
            state: {name: round(side.median / results[base].median, 3) for name, side in results.items()}
            for state, results in states.items()
        }
    sides = {state: {name: asdict(side) for name, side in results.items()} for state, results in states.items()}
    print(json.dumps({**document, "sides": sides}))
    return 0


if __name__ == "__main__":
    sys.exit(main())

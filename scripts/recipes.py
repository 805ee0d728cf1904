"""Write the recipes of the published checkpoints, or check what is there.

    python scripts/recipes.py [--check]

One row of ``ROWS`` is one file recipes/<model>/<target>.yaml. Sizes in a recipe's comment come from its plan. Layouts
and limits follow NVIDIA's tuned configurations (toolkit/trtllm/data/tuned.yaml) where there is one for that GPU.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from toolkit import recipe
from toolkit.checkpoint.source import TOKENIZER
from toolkit.models.known import predicted_census
from toolkit.plan import Plan, make_plan
from toolkit.plan.describe import GPT_OSS_TOKENIZER
from toolkit.trtllm import load_targets

ROOT = Path(__file__).parents[1]
RELEASE = "1.2.1"
SPARK = "1.3.0rc20"
NVFP4_120B = "Firworks/gpt-oss-120b-nvfp4"
MXFP4 = {"gpt-oss-120b": "openai/gpt-oss-120b", "gpt-oss-20b": "openai/gpt-oss-20b"}
LLAMA, QWEN = "nvidia/Llama-3.1-8B-Instruct-NVFP4", "nvidia/Qwen3-30B-A3B-NVFP4"
GB = 10**9


@dataclass(frozen=True)
class Row:
    """One recipe. ``target`` is the file's name, ``about`` what its first line says after model and GPU."""

    model: str
    target: str
    repo: str
    gpu: str
    about: str
    tp: int = 1
    ep: int = 1
    attention_dp: bool = False
    profile: str | None = None
    batch: int = 512
    tokens: int = 20000
    seq: int = 9216
    kv: str = "fp8"
    fraction: float = 0.85
    interval: int = 20
    concurrency: tuple[int, ...] = (1, 8, 64, 256, 512)
    isl: int = 1024
    osl: int = 1024
    requests: int = 3000
    release: str = RELEASE
    backend: str = "pytorch"


DATACENTER = ("b200", "gb200", "b300", "gb300")


def latency(row: Row) -> Row:
    return replace(
        row,
        target=f"{row.gpu}-latency",
        about="low latency",
        profile="latency",
        batch=8,
        concurrency=(1, 4, 8),
        requests=200,
    )


def throughput(row: Row) -> Row:
    return replace(row, target=f"{row.gpu}-throughput", about="most tokens a GPU", profile="throughput")


def rows_120b() -> list[Row]:
    model = "gpt-oss-120b"
    rows = [Row(model, "b200", NVFP4_120B, "b200", "one GPU, latency and throughput balanced")]
    for gpu in DATACENTER:
        base = Row(model, gpu, NVFP4_120B, gpu, "")
        rows.append(latency(replace(base, tp=4, ep=4)))
        many = replace(base, tp=2, ep=2, attention_dp=True, batch=720, tokens=16384, fraction=0.9)
        rows.append(throughput(replace(many, concurrency=(256, 512, 1024, 1440))))
    return rows + hopper(model, h100_tp=4) + workstations(model, {"rtx-5090": 4, "rtx-pro-6000": 1, "dgx-spark": 1})


def rows_20b() -> list[Row]:
    model = "gpt-oss-20b"
    bases = [Row(model, gpu, MXFP4[model], gpu, "") for gpu in DATACENTER]
    rows = [profiled(base) for base in bases for profiled in (latency, throughput)]
    return rows + hopper(model, h100_tp=1) + workstations(model, {"rtx-5090": 1, "rtx-pro-6000": 1, "dgx-spark": 1})


def hopper(model: str, h100_tp: int) -> list[Row]:
    """MXFP4 from the original: Hopper has no NVFP4."""
    rows = []
    for gpu, tp in (("h100", h100_tp), ("h200", 1)):
        base = Row(model, gpu, MXFP4[model], gpu, "", kv="auto", tp=tp, ep=tp)
        rows.append(latency(base))
        rows.append(throughput(replace(base, attention_dp=tp > 1, batch=256, concurrency=(64, 128, 256))))
    return rows


def workstations(model: str, gpus: dict[str, int]) -> list[Row]:
    """MXFP4 from the original: SM120 and SM121 have no NVFP4 MoE kernel for gpt-oss."""
    about = "MXFP4, the only format with a kernel there"
    base = Row(model, "", MXFP4[model], "", about, batch=32, tokens=8192, requests=200, interval=10)
    base = replace(base, concurrency=(1, 4, 16, 32))
    return [
        replace(base, target=gpu, gpu=gpu, tp=tp, ep=tp, release=SPARK if gpu == "dgx-spark" else RELEASE)
        for gpu, tp in gpus.items()
    ]


ROWS = [
    *rows_120b(),
    *rows_20b(),
    Row("llama-3.1-8b", "b200", LLAMA, "b200", "PyTorch backend", batch=256, concurrency=(1, 8, 64, 256)),
    Row(
        "llama-3.1-8b",
        "b200-compiled",
        LLAMA,
        "b200",
        "an engine compiled by trtllm-build",
        batch=256,
        tokens=8192,
        concurrency=(1, 8, 64, 256),
        backend="tensorrt",
    ),
    Row("qwen3-30b-a3b", "b200", QWEN, "b200", "one GPU", batch=256, concurrency=(1, 8, 64, 256)),
    Row("qwen3-30b-a3b", "rtx-5090", QWEN, "rtx-5090", "one GPU", batch=32, tokens=8192, concurrency=(1, 8, 32)),
]


def body(row: Row) -> str:
    parallel = [f"tp: {row.tp}", f"pp: 1, ep: {row.ep}", *(["attention_dp: true"] if row.attention_dp else [])]
    name = f"{row.model}-{row.target}"
    profile = f"  profile: {row.profile}\n" if row.profile else ""
    backend = f"  backend: {row.backend}\n" if row.backend != "pytorch" else ""
    return f"""name: {name}

checkpoint:
  repo: {row.repo}
  revision: main

target:
  runtime: tensorrt-llm
  release: {row.release}
  gpu: {row.gpu}
{backend}  parallel: {{{", ".join(parallel)}}}

engine:
  output: build/{name}
  max_batch_size: {row.batch}
  max_num_tokens: {row.tokens}
  max_seq_len: {row.seq}
  kv_cache_dtype: {row.kv}
  kv_cache_free_gpu_memory_fraction: {row.fraction}
  stream_interval: {row.interval}
{profile}
serve:
  repository: build/{name}.triton

bench:
  output: results/local
  isl: [{row.isl}]
  osl: [{row.osl}]
  concurrency: [{", ".join(map(str, row.concurrency))}]
  requests: {row.requests}
"""


def plan_of(text: str, repo: str) -> Plan:
    census = predicted_census(repo)
    assert census is not None, f"{repo} is not among the known checkpoints"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "recipe.yaml")
        path.write_text(text, encoding="utf-8")
        return make_plan(recipe.load(path), census, predicted=True)


def doubt_of(plan: Plan) -> str:
    """What is said against the kernel, else the first fact that sources disagree about."""
    backend = str(plan.kernel).partition(" ")[0]
    said = [f"{note.what}: {note.source}" for note in plan.notes if note.what.startswith(f"{backend} on SM")]
    facts = [f"{fact.statement.rstrip('.')}: {fact.source}" for fact in plan.evidence if fact.status == "contested"]
    return [*said, *facts][0]


def comment(row: Row, plan: Plan) -> str:
    gpu = load_targets().gpu(row.gpu)
    census = predicted_census(row.repo)
    assert census is not None
    assert plan.memory is not None
    disk = -(-(sum(census.shards.values()) + plan.output_bytes) // GB)
    weights = plan.formats["ffn"].upper()
    file = f"recipes/{row.model}/{row.target}.yaml"
    doubt = f"# Doubt:    {doubt_of(plan)}\n" if plan.contested else ""
    words = f"{GPT_OSS_TOKENIZER}, then add --set checkpoint.tokenizer=DIR"
    own = any(copy.file == TOKENIZER for copy in plan.copies)
    tokenizer = "" if own else f"# Tokenizer: not in the repository: {words}\n"
    memory = f"{plan.memory.weights / (1 << 30):.1f} GiB of weights on each of {plan.memory.gpu / (1 << 30):.0f} GiB"
    where = f"{row.tp} × {gpu.title.partition(',')[0]}"
    return f"""# {row.model} in {weights} on {where}: {row.about}. TensorRT-LLM {row.release}.
# Made by scripts/recipes.py; copy it to change it.
#
# Needs:    {memory}; {disk} GB of disk; TensorRT-LLM {row.release}
# Launch:   trtkit plan {file}, then: trtkit engine {file} --fetch
# Override: trtkit plan {file} --set engine.max_seq_len=4096
{tokenizer}{doubt}"""


def text_of(row: Row) -> str:
    text = body(row)
    plan = plan_of(text, row.repo)
    assert not plan.refusals, f"{row.model}/{row.target}: {plan.why}"
    return comment(row, plan) + text


def main() -> int:
    stale = []
    for row in ROWS:
        path = ROOT / "recipes" / row.model / f"{row.target}.yaml"
        text = text_of(row)
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(path.relative_to(ROOT))
        if "--check" not in sys.argv:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
    for name in stale:
        print(f"{'stale' if '--check' in sys.argv else 'wrote'} {name}")
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())

"""A plan for a person: the verdict and why, what changes, memory, layouts, what to check, how to launch it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import yaml

from toolkit.checkpoint.source import TOKENIZER
from toolkit.plan.measure import Measurement
from toolkit.plan.types import Evidence, Memory, Plan, Split

if TYPE_CHECKING:
    from toolkit.plan.source import Download

VERDICTS = {"loads": "loads as it is", "after-change": "loads after a change", "refused": "cannot be loaded"}
GIB, KIB = 1 << 30, 1 << 10
NO_TOKENIZER = f"no {TOKENIZER}: serving needs one; set checkpoint.tokenizer to its folder"
GPT_OSS_TOKENIZER = "hf download openai/gpt-oss-120b --include 'tokenizer*' --local-dir DIR"
WIDTH = 104


def describe(plan: Plan, name: str) -> str:
    heading = f"{name}: {VERDICTS[plan.verdict]}{''.join(f', {doubt}' for doubt in doubts(plan))} ({_target(plan)})"
    return "\n".join([heading, *(f"  {line}" for line in _lines(plan))])


def doubts(plan: Plan) -> list[str]:
    """What the first line adds to the verdict, one word each."""
    sure = {"verified": [], "inferred": ["expected"], "unverified": ["unverified"]}[plan.certainty]
    return [*(["not exactly"] if plan.lossy else []), *sure, *(["contested"] if plan.contested else [])]


def measured_lines(measured: Measurement) -> Iterator[str]:
    """What ``trtkit plan --deep`` found, one line a kind of change."""
    for kind in measured.kinds:
        report, count = measured.total(kind), sum(entry.kind == kind for entry in measured.tensors)
        yield (
            f"measured   {kind} of {count} weights: {report.exact_share:.4%} of {report.blocks:,} blocks exact, "
            f"{report.inexact_blocks:,} not; relative RMS error {report.relative_rms:.3e}"
        )
    if not measured.kinds:
        yield "measured   no weight changes its number format: nothing is lost"


def download_line(download: Download) -> str:
    """What would have to be fetched."""
    files = f" in {download.files} file(s)" if download.files is not None else ""
    about = "" if download.exact else "about "
    return f"weights    not here: {about}{download.nbytes:,} bytes{files} from {download.where}"


def _target(plan: Plan) -> str:
    target = plan.target
    if target["runtime"] == "cpu":
        return "cpu"
    parallel = target["parallel"]
    sizes = [f"{key} {parallel[key]}" for key in ("tp", "pp", "ep") if parallel[key] > 1 or key == "tp"]
    split = ", ".join([*sizes, *(["attention DP"] if parallel["attention_dp"] else [])])
    backend = "" if target["backend"] == "pytorch" else ", compiled engine"
    return f"TensorRT-LLM {target['release']} on {target['gpu']}, {split}{backend}"


def _lines(plan: Plan) -> Iterator[str]:
    if plan.predicted:
        yield "predicted  from the published export recipe; no header was read"
    if plan.refusals:
        yield from _refusal_lines(plan)
        return
    if plan.target["runtime"] != "cpu":
        yield f"why        {plan.why}"
        yield from (f"fact       {_spoken(evidence)}" for evidence in plan.evidence)
    yield from (f"way out    {way}" for way in plan.ways_out)
    yield from _action_lines(plan)
    if plan.json_files:
        yield f"rewrite    {', '.join(plan.json_files)}"
    shards = "" if plan.predicted else f" in {len(plan.shards)} shard(s)"
    yield f"output     {plan.output_bytes:,} bytes{shards}"
    if plan.kernel:
        yield f"kernel     {plan.kernel}"
    if plan.memory:
        yield from _memory_lines(plan.memory)
    if plan.layouts:
        yield f"layouts    {_layouts(plan.layouts)}"
    yield from _note_lines(plan)
    if TOKENIZER not in {copy.file for copy in plan.copies}:
        ours = plan.architecture == "GptOssForCausalLM"
        yield f"note       {NO_TOKENIZER}{f' (gpt-oss: {GPT_OSS_TOKENIZER})' if ours else ''}"
    yield from _launch_lines(plan)
    if plan.confirm:
        yield "confirm    in the container, must print True:"
        yield f"  {plan.confirm}"


def _launch_lines(plan: Plan) -> Iterator[str]:
    if plan.launch is None:
        return
    if plan.llm_args is not None:
        yield from _flow("llm args", plan.llm_args)
    if plan.launch.triton_model:
        more = {key: value for key, value in plan.launch.triton_model.items() if key not in (plan.llm_args or {})}
        yield from _flow("triton", more, "model.yaml: the llm args and ")
    env = " ".join(f"{name}={value}" for name, value in plan.launch.env.items())
    for what, command in plan.launch.commands.items():
        needs_env = env and what in ("serve", "bench")
        yield f"{what:<10} {env + ' ' if needs_env else ''}{command.shell}"


def _flow(what: str, value: Mapping[str, Any], before: str = "") -> Iterator[str]:
    """One YAML mapping in flow style, which may be pasted over its lines."""
    text = yaml.safe_dump(dict(value), default_flow_style=True, sort_keys=False, width=WIDTH, allow_unicode=True)
    first, *rest = text.splitlines()
    yield f"{what:<10} {before}{first}"
    yield from (f"           {line.strip()}" for line in rest)


def _refusal_lines(plan: Plan) -> Iterator[str]:
    for refusal in plan.refusals:
        yield f"refused    {refusal.what}"
        yield f"fact       {_spoken(refusal.evidence)}"
        yield from (f"way out    {way}" for way in refusal.ways_out)
    yield from _note_lines(plan)
    if plan.layouts:
        yield f"layouts    {_layouts(plan.layouts)}"


def _note_lines(plan: Plan) -> Iterator[str]:
    return (f"note       {note.what.rstrip('.')}" + (f" [{note.source}]" if note.source else "") for note in plan.notes)


def _layouts(layouts: Sequence[Split]) -> str:
    """By tp, the ep that go with it; attention DP said once where it goes with all of them."""
    plain = _grouped(layout for layout in layouts if not layout.attention_dp)
    with_dp = _grouped(layout for layout in layouts if layout.attention_dp)
    if not with_dp:
        return plain
    return f"{plain}; with attention DP {with_dp}" if plain else f"with attention DP {with_dp}"


def _grouped(layouts: Iterable[Split]) -> str:
    by_tp: dict[int, list[int]] = {}
    for layout in layouts:
        by_tp.setdefault(layout.tp, []).append(layout.ep)
    return ", ".join(f"tp {tp}" + (f" ep {'/'.join(map(str, eps))}" if eps != [1] else "") for tp, eps in by_tp.items())


def _spoken(evidence: Evidence) -> str:
    sure = "" if evidence.status == "verified" else f", {evidence.status}"
    dated = f", {evidence.checked}" if evidence.checked else ""
    id = f"{evidence.id}: " if evidence.id else ""
    return f"{id}{evidence.statement.rstrip('.')} [{evidence.source}{sure}{dated}]"


def _action_lines(plan: Plan) -> Iterator[str]:
    counts: dict[tuple[str, str], int] = {}
    for action in plan.actions:
        counts[action.kind, action.reason] = counts.get((action.kind, action.reason), 0) + 1
    for (kind, reason), count in sorted(counts.items()):
        yield f"{kind:<10} {count:>5} tensors  {plan.reasons[reason]}"


def _memory_lines(memory: Memory) -> Iterator[str]:
    yield (
        f"memory     {_gib(memory.weights)} of weights on each GPU of {_gib(memory.gpu)}; {_gib(memory.kv_budget)} for "
        f"the KV cache ({memory.kv_dtype}), {_gib(memory.reserve)} assumed for the rest"
    )
    window = f" and {memory.kv_window / KIB:,.0f} KiB a request in sliding windows" if memory.kv_window else ""
    fits = ", ".join(f"{fit.requests:,} × {fit.context:,} tokens" for fit in memory.fits)
    yield f"KV cache   {memory.kv_per_token / KIB:.1f} KiB a token{window}; fits {fits}"


def _gib(nbytes: int) -> str:
    return f"{nbytes / GIB:.1f} GiB" if nbytes >= GIB // 10 else f"{nbytes / (1 << 20):.1f} MiB"

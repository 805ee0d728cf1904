"""Which formats of a model the target computes, with which kernel; and why not, each reason with its ways out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from toolkit.models import gpt_oss, llama
from toolkit.models.layout import Format, Layout
from toolkit.models.registry import Family
from toolkit.plan.cite import cite, evidence, noted
from toolkit.plan.declared import QUANTISE
from toolkit.plan.types import Evidence, KvDtype, Note, Refusal
from toolkit.recipe import TargetSection
from toolkit.trtllm import Fact, Kernel, Release, Targets

Part = Literal["attention", "ffn"]
SPOKEN: dict[Format, str] = {"nvfp4": "NVFP4", "mxfp4": "MXFP4", "bf16": "BF16", "fp8": "FP8"}
Lookup = Callable[[int, str], Kernel | None]
"""(SM, release) → what runs one part of the model there."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The bundle's formats, what computes them, and the facts that decided. ``instead_of`` was tried first."""

    layout: Layout
    kernel: Kernel | None
    evidence: tuple[Evidence, ...] = ()
    notes: tuple[Note, ...] = ()
    contested: bool = False
    instead_of: Refusal | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """Which formats of a ``family``'s weights, stored as ``stored``, does ``target`` load?"""

    target: TargetSection
    family: Family
    experts: bool
    stored: Layout
    targets: Targets

    @property
    def release(self) -> Release:
        return self.targets.release(str(self.target.release))

    @property
    def _name(self) -> str:
        return str(self.target.release)

    @property
    def sm(self) -> int:
        return self.targets.gpu(str(self.target.gpu)).sm

    def answer(self) -> Choice | tuple[Refusal, ...]:
        """The first format that loads, else why none does, the checkpoint's own first."""
        if self.target.backend == "tensorrt" and (refusals := tuple(self._against_compiled())):
            return refusals
        tried: list[tuple[Refusal, ...]] = []
        for layout in self._candidates():
            refusals = tuple(dict.fromkeys(self._against(layout)))
            if not refusals:
                return self._choice(layout, tried[0][0] if tried else None)
            tried.append(refusals)
        return tuple(dict.fromkeys(refusal for refusals in tried for refusal in refusals))

    def on(self, gpu: str, kv_dtype: KvDtype) -> bool:
        """Whether GPU ``gpu`` computes it in some format, with a KV cache in ``kv_dtype``."""
        there = replace(self, target=self.target.model_copy(update={"gpu": gpu}))
        return isinstance(there.answer(), Choice) and not list(there.against_kv(kv_dtype))

    def against_kv(self, kv_dtype: KvDtype) -> Iterator[Refusal]:
        """Whether attention has a KV cache in ``kv_dtype`` there; BF16 every one has."""
        if kv_dtype == "bf16":
            return
        lookup = partial(self.targets.kv_kernel, self.family.name, kv_dtype)
        if lookup(self.sm, self._name) is None:
            others = (f"Set engine.kv_cache_dtype={other}" for other in ("fp8",) if other != kv_dtype)
            what = f"attention has no {SPOKEN[kv_dtype]} KV cache"
            yield self._absent(what, lookup, tuple(others))

    def _candidates(self) -> Sequence[Layout]:
        """What to try, the smallest change first."""
        wanted, stored = self.target.weights, self.stored
        if self.family.fused_experts:
            auto: tuple[Format, ...] = ("nvfp4", "mxfp4") if stored.ffn == "nvfp4" else (stored.ffn,)
            return [Layout("bf16", ffn) for ffn in (auto if wanted == "auto" else (wanted,))]
        if wanted == "bf16":
            return [Layout("bf16", "bf16")]
        if wanted == "auto" or wanted in (stored.attention, stored.ffn):
            return [stored]
        return [Layout(stored.attention, wanted)]

    def _against(self, layout: Layout) -> Iterator[Refusal]:
        if not self._reachable(layout):
            yield self._unreachable(layout.ffn)
            return
        if self.family is gpt_oss.FAMILY:
            yield from self._against_gpt_oss(self.release, layout)
        parts: tuple[tuple[Part, Format], ...] = (("ffn", layout.ffn), ("attention", layout.attention))
        for part, fmt in parts:
            if self._kernel(part, fmt, self.sm, self._name) is None:
                yield self._no_kernel(part, fmt)
        attention = partial(self.targets.attention_kernel, self.family.name)
        has_model = self.release.gpt_oss or self.family is not gpt_oss.FAMILY
        if has_model and attention(self.sm, self._name) is None:
            yield self._absent(f"no attention backend runs {self.family.name}", attention, ())

    def _unreachable(self, wanted: Format) -> Refusal:
        stored = " and ".join(dict.fromkeys(SPOKEN[fmt] for fmt in (self.stored.ffn, self.stored.attention)))
        if self.family.fused_experts:
            stored = SPOKEN[self.stored.ffn]
            if wanted == "bf16":
                what = f"trtkit makes no BF16 experts from {stored} ones"
                ways = (*self.other_weights(wanted), "Serve the BF16 checkpoint")
                return Refusal(what, ways, cite("decoded-experts"))
        what = f"the checkpoint's weights are {stored}, and {SPOKEN[wanted]} cannot be made from them"
        return Refusal(what, (*self.other_weights(wanted), QUANTISE), cite("fp4-needs-quantising"))

    def _reachable(self, layout: Layout) -> bool:
        if self.family.fused_experts:
            return layout.ffn == self.stored.ffn or {layout.ffn, self.stored.ffn} == {"nvfp4", "mxfp4"}
        decodable = {self.stored.attention, self.stored.ffn} <= {"nvfp4", "bf16"}
        return layout == self.stored or (layout == Layout("bf16", "bf16") and decodable)

    def _against_gpt_oss(self, release: Release, layout: Layout) -> Iterator[Refusal]:
        name = self.target.release
        if not release.gpt_oss:
            yield Refusal(
                f"TensorRT-LLM {name} has no gpt-oss model", self._newer("gpt_oss"), evidence(release.fact("gpt-oss"))
            )
        elif layout.ffn == "nvfp4" and release.gpt_oss_nvfp4 == "no":
            ways = (*self._newer("gpt_oss_nvfp4"), *self.other_weights("nvfp4"))
            yield Refusal(
                f"TensorRT-LLM {name} has no gpt-oss NVFP4 loader", ways, evidence(release.fact("gpt-oss-nvfp4"))
            )

    def _against_compiled(self) -> Iterator[Refusal]:
        release = self.release
        python = "Set target.backend=pytorch: there the checkpoint is the engine"
        if self.family is not llama.FAMILY:
            what = f"trtkit makes TensorRT-LLM checkpoints for trtllm-build of Llama only, not of {self.family.name}"
            if self.family is gpt_oss.FAMILY:
                what = f"trtllm-build compiles no {self.family.name}: its MODEL_MAP lacks {self.family.architecture}"
            yield Refusal(what, (python,), cite("model-map"))
        if not release.tensorrt_backend:
            fact = release.fact("tensorrt-backend")
            what = f"TensorRT-LLM {self.target.release} has no TensorRT backend and no trtllm-build"
            last = [name for name, known in self.targets.releases.items() if known.tensorrt_backend][-1]
            yield Refusal(what, (python, f"Set target.release={last}, the last that has it"), evidence(fact))
        if self.stored != Layout("nvfp4", "nvfp4"):
            yield Refusal(
                "trtkit compiles checkpoints with every projection in NVFP4 only",
                (QUANTISE, python),
                cite("compiled-names"),
            )
        elif (wanted := self.target.weights) != "auto" and wanted != "nvfp4":
            what = f"trtkit compiles NVFP4 weights only, not {SPOKEN[wanted]}"
            yield Refusal(what, ("Set target.weights=auto", python), cite("compiled-names"))

    def _kernel(self, part: Part, fmt: Format, sm: int, release: str) -> Kernel | None:
        """What computes ``part``: a MoE backend for experts, a GEMM for Linears."""
        if part == "ffn" and self.experts:
            return next(iter(self.targets.moe_kernels(self.family.name, fmt, sm, release)), None)
        return self.targets.linear_kernel(fmt, sm, release)

    def _no_kernel(self, part: Part, fmt: Format) -> Refusal:
        moe = part == "ffn" and self.experts
        what = f"no MoE backend runs {SPOKEN[fmt]} {self.family.name}" if moe else f"there is no {SPOKEN[fmt]} GEMM"
        return self._absent(what, partial(self._kernel, part, fmt), self.other_weights(fmt), self._asked_for(moe, fmt))

    def _absent(self, what: str, lookup: Lookup, others: tuple[str, ...], doubtful: tuple[str, ...] = ()) -> Refusal:
        """``lookup`` found nothing for this target: where it does, newer releases first, and by which fact."""
        newest = list(self.targets.releases)[-1]
        later = lookup(self.sm, newest)
        gpus = {name: kernel for name, gpu in self.targets.gpus.items() if (kernel := lookup(gpu.sm, self._name))}
        where = f"on {self.target.gpu} (SM{self.sm})" + (f" in TensorRT-LLM {self.target.release}" if later else "")
        newer = (f"Set target.release={later.since} or later",) if later is not None and later.since else ()
        there = (f"Run it on one of {', '.join(gpus)}",) if gpus else ()
        ways = (*others, *newer, *there, *doubtful) or ("Serve another checkpoint of the model there",)
        known = later or next(iter(gpus.values()), None)
        if known is not None:
            return Refusal(f"{what} {where}", ways, evidence(known.fact))
        nowhere = Evidence(f"{what}, as far as is known", "trtkit targets", "inferred", self.targets.checked)
        return Refusal(f"{what} {where}", ways, nowhere)

    def _asked_for(self, moe: bool, fmt: Format) -> tuple[str, ...]:
        """Kernels that run only when LLM arguments name them, made for other models."""
        found = self.targets.opt_in_kernels("moe" if moe else "linear", self.family.name, fmt, self.sm)
        return tuple(
            f"Doubtful, and not planned by trtkit: {kernel.backend} from {kernel.since} on, with {kernel.opt_in}"
            for kernel in found
        )

    def other_weights(self, fmt: Format) -> tuple[str, ...]:
        """Other formats of the same checkpoint that this target computes."""
        others: tuple[Format, ...] = ("mxfp4", "nvfp4") if self.family.fused_experts else ("bf16",)
        pytorch = "target.backend=pytorch and " if self.target.backend == "tensorrt" else ""
        layouts = [Layout("bf16", other) for other in others if other != fmt]
        return tuple(
            f"Set {pytorch}target.weights={layout.ffn}" for layout in layouts if not list(self._against_others(layout))
        )

    def _against_others(self, layout: Layout) -> Iterator[str]:
        """Short reasons, without ways out, so that one refusal does not ask for the next."""
        if not self._reachable(layout):
            yield "unreachable"
        if self.family.fused_experts and layout.ffn == "nvfp4" and self.release.gpt_oss_nvfp4 == "no":
            yield "no loader"
        if self._kernel("ffn", layout.ffn, self.sm, self._name) is None:
            yield "no kernel"
        if self._kernel("attention", "bf16", self.sm, self._name) is None:
            yield "no GEMM"

    def _newer(self, key: str) -> tuple[str, ...]:
        """The newest finished release that has it, else the newest candidate."""
        names = [name for name, known in self.targets.releases.items() if getattr(known, key) not in (False, "no")]
        finished = [name for name in names if "rc" not in name]
        return (f"Set target.release={(finished or names)[-1]}",)

    def _choice(self, layout: Layout, instead_of: Refusal | None) -> Choice:
        kernel = self._kernel("ffn", layout.ffn, self.sm, self._name)
        attention = self.targets.attention_kernel(self.family.name, self.sm, self._name)
        notes: list[Note] = []
        facts: list[Evidence] = []
        for found in (kernel, attention):
            if found is None:
                continue
            fact = self.targets.kernel_fact(found, self._name)
            if found.status == "contested":
                notes.append(_doubt(found, fact, self.sm))
            if found.status == "contested" or (found is kernel and layout.ffn != "bf16"):
                facts.append(evidence(fact))
        contested = any(k is not None and k.status == "contested" for k in (kernel, attention))
        return Choice(layout, kernel, tuple(facts), tuple(notes), contested, instead_of)


def _doubt(kernel: Kernel, fact: Fact, sm: int) -> Note:
    """What stands against a contested kernel in a few words; its fact has them all."""
    what = f"{kernel.backend} ({kernel.algo}) on SM{sm}"
    if not kernel.reports:
        return noted(fact, f"sources disagree on whether {what} runs it")
    issues = ", ".join(f"#{number}" for number in kernel.reports)
    return Note(f"{what} is in the code, but open issues report that it fails", f"NVIDIA/TensorRT-LLM {issues}")

"""Which formats of a model the target computes, with which kernel; and why not, each reason with its ways out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from toolkit.models.layout import Format, Layout
from toolkit.models.registry import Family
from toolkit.plan.types import Evidence, Note, Refusal
from toolkit.recipe import TargetSection
from toolkit.trtllm import Fact, Kernel, Release, Targets

GPT_OSS, LLAMA = "gpt-oss", "llama"
Part = Literal["attention", "ffn"]
SPOKEN: dict[Format, str] = {"nvfp4": "NVFP4", "mxfp4": "MXFP4", "bf16": "BF16", "fp8": "FP8"}
QUANTISE = "Quantise the BF16 model with ModelOpt first: hf_ptq.py --qformat nvfp4"
_NAMES = Evidence(
    "preprocess_perlayer_weights knows scales by quant_algo; trtkit knows the names of NVFP4",
    "tensorrt_llm/models/modeling_utils.py (commit unknown)",
)
_FROM_DATA = Evidence("an FP4 format cannot be made from this one without quantising again", "tensor dtypes")
_EXPERTS_STAY = Evidence(
    "decoded experts hold nothing that the FP4 ones do not, in four times the bytes", "BF16 has 16 bits, FP4 4"
)


@dataclass(frozen=True, slots=True)
class Choice:
    """The bundle's formats, what computes them, and the facts that decided. ``instead_of`` was tried first."""

    layout: Layout
    kernel: Kernel | None
    evidence: tuple[Evidence, ...] = ()
    notes: tuple[Note, ...] = ()
    contested: bool = False
    instead_of: Refusal | None = None


def evidence(fact: Fact) -> Evidence:
    return Evidence(fact.statement, fact.source, fact.status, fact.checked)


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
    def sm(self) -> int:
        return self.targets.gpu(str(self.target.gpu)).sm

    def answer(self) -> Choice | tuple[Refusal, ...]:
        """The first format that loads, else why the first one does not."""
        if self.target.backend == "tensorrt" and (refusals := tuple(self._against_compiled())):
            return refusals
        tried: list[tuple[Refusal, ...]] = []
        for layout in self._candidates():
            refusals = tuple(dict.fromkeys(self._against(layout)))
            if not refusals:
                return self._choice(layout, tried[0][0] if tried else None)
            tried.append(refusals)
        return tried[0]

    def _candidates(self) -> Sequence[Layout]:
        """What to try, the smallest change first."""
        wanted, stored = self.target.weights, self.stored
        if self.family.name == GPT_OSS:
            auto: tuple[Format, ...] = ("nvfp4", "mxfp4") if stored.ffn == "nvfp4" else (stored.ffn,)
            return [Layout("bf16", ffn) for ffn in (auto if wanted == "auto" else (wanted,))]
        if wanted == "auto" or wanted == stored.ffn:
            return [stored]
        return [Layout("bf16" if wanted == "bf16" else stored.attention, wanted)]

    def _against(self, layout: Layout) -> Iterator[Refusal]:
        if not self._reachable(layout):
            yield self._unreachable(SPOKEN[self.stored.ffn], layout.ffn)
            return
        release = self.release
        if self.family.name == GPT_OSS:
            yield from self._against_gpt_oss(release, layout)
        parts: tuple[tuple[Part, Format], ...] = (("ffn", layout.ffn), ("attention", layout.attention))
        for part, fmt in parts:
            if self._kernel(part, fmt) is None:
                yield self._no_kernel(part, fmt)

    def _unreachable(self, stored: str, wanted: Format) -> Refusal:
        others = self._other_weights(wanted)
        if wanted == "bf16":
            what = f"trtkit makes no BF16 experts from {stored} ones"
            return Refusal(what, (*others, "Serve the BF16 checkpoint"), _EXPERTS_STAY)
        what = f"the checkpoint's weights are {stored}, and {SPOKEN[wanted]} cannot be made from them"
        return Refusal(what, (*others, QUANTISE), _FROM_DATA)

    def _reachable(self, layout: Layout) -> bool:
        if self.family.name == GPT_OSS:
            return layout.ffn == self.stored.ffn or {layout.ffn, self.stored.ffn} == {"nvfp4", "mxfp4"}
        return layout == self.stored or (layout.ffn == "bf16" and self.stored.ffn == "nvfp4")

    def _against_gpt_oss(self, release: Release, layout: Layout) -> Iterator[Refusal]:
        name = self.target.release
        if not release.gpt_oss:
            yield Refusal(
                f"TensorRT-LLM {name} has no gpt-oss model", self._newer("gpt_oss"), evidence(release.fact("gpt-oss"))
            )
        elif layout.ffn == "nvfp4" and release.gpt_oss_nvfp4 == "no":
            ways = (*self._newer("gpt_oss_nvfp4"), *self._other_weights("nvfp4"))
            yield Refusal(
                f"TensorRT-LLM {name} has no gpt-oss NVFP4 loader", ways, evidence(release.fact("gpt-oss-nvfp4"))
            )

    def _against_compiled(self) -> Iterator[Refusal]:
        release = self.release
        python = "Set target.backend=pytorch: there the checkpoint is the engine"
        if self.family.name != LLAMA:
            fact = next(note for note in self.targets.notes if note.id == "model-map")
            what = f"trtllm-build compiles no {self.family.name}: its MODEL_MAP lacks {self.family.architecture}"
            if self.family.name != GPT_OSS:
                what = (
                    f"trtkit makes TensorRT-LLM checkpoints for trtllm-build of Llama only, not of {self.family.name}"
                )
            yield Refusal(what, (python,), evidence(fact))
        if not release.tensorrt_backend:
            fact = release.fact("tensorrt-backend")
            what = f"TensorRT-LLM {self.target.release} has no TensorRT backend and no trtllm-build"
            last = [name for name, known in self.targets.releases.items() if known.tensorrt_backend][-1]
            yield Refusal(what, (python, f"Set target.release={last}, the last that has it"), evidence(fact))
        if self.stored != Layout("nvfp4", "nvfp4"):
            yield Refusal("trtkit compiles checkpoints with every projection in NVFP4 only", (QUANTISE, python), _NAMES)
        elif (wanted := self.target.weights) != "auto" and wanted != "nvfp4":
            what = f"trtkit compiles NVFP4 weights only, not {SPOKEN[wanted]}"
            yield Refusal(what, ("Set target.weights=auto", python), _NAMES)

    def _kernel(self, part: Part, fmt: Format, sm: int | None = None, release: str | None = None) -> Kernel | None:
        """What computes ``part``: a MoE backend for experts, a GEMM for Linears."""
        sm, release = sm or self.sm, release or str(self.target.release)
        if part == "ffn" and self.experts:
            return next(iter(self.targets.moe_kernels(self.family.name, fmt, sm, release)), None)
        return self.targets.linear_kernel(fmt, sm, release)

    def _no_kernel(self, part: Part, fmt: Format) -> Refusal:
        moe = part == "ffn" and self.experts
        what = f"no MoE backend runs {SPOKEN[fmt]} {self.family.name}" if moe else f"there is no {SPOKEN[fmt]} GEMM"
        later = self._later_kernel(part, fmt)
        where = f"on {self.target.gpu} (SM{self.sm})" + (f" in TensorRT-LLM {self.target.release}" if later else "")
        return Refusal(f"{what} {where}", self._ways_to_a_kernel(part, fmt), self._kernel_evidence(part, fmt, later))

    def _later_kernel(self, part: Part, fmt: Format) -> Kernel | None:
        """The kernel that a later release has for this GPU."""
        return self._kernel(part, fmt, release=list(self.targets.releases)[-1])

    def _kernel_evidence(self, part: Part, fmt: Format, later: Kernel | None) -> Evidence:
        if later is not None:
            return evidence(later.fact)
        found = [
            kernel for gpu in self.targets.gpus.values() if (kernel := self._kernel(part, fmt, gpu.sm)) is not None
        ]
        if found:
            return evidence(found[0].fact)
        return Evidence(
            f"no kernel for {SPOKEN[fmt]} weights is known", "trtkit targets", "inferred", self.targets.checked
        )

    def _ways_to_a_kernel(self, part: Part, fmt: Format) -> tuple[str, ...]:
        later = self._later_kernel(part, fmt)
        ways = (f"Set target.release={later.since} or later",) if later is not None and later.since else ()
        gpus = [name for name, gpu in self.targets.gpus.items() if self._kernel(part, fmt, gpu.sm) is not None]
        there = (f"Run it on one of {', '.join(gpus)}",) if gpus else ()
        return (*self._other_weights(fmt), *ways, *there) or ("Serve another checkpoint of the model there",)

    def _other_weights(self, fmt: Format) -> tuple[str, ...]:
        """Other formats of the same checkpoint that this target computes."""
        others: tuple[Format, ...] = ("mxfp4", "nvfp4") if self.family.name == GPT_OSS else ("bf16",)
        pytorch = "target.backend=pytorch and " if self.target.backend == "tensorrt" else ""
        found = []
        for other in others:
            layout = Layout("bf16", other)
            if (
                other != fmt
                and self._reachable(layout)
                and self._kernel("ffn", other)
                and self._kernel("attention", "bf16")
            ):
                found.append(f"Set {pytorch}target.weights={other}")
        return tuple(found)

    def _newer(self, key: str) -> tuple[str, ...]:
        """The first finished release that has it, else the first of all."""
        names = [name for name, known in self.targets.releases.items() if getattr(known, key) not in (False, "no")]
        finished = [name for name in names if "rc" not in name]
        return (f"Set target.release={(finished or names)[-1]}",)

    def _choice(self, layout: Layout, instead_of: Refusal | None) -> Choice:
        kernel = self._kernel("ffn", layout.ffn)
        notes: list[Note] = []
        facts: list[Evidence] = []
        if kernel is not None and layout.ffn != "bf16":
            facts.append(evidence(kernel.fact))
            if kernel.status == "contested":
                what = f"{kernel.backend} on SM{self.sm} is in the code, but open issues report that it fails"
                notes.append(Note(what, _issues(kernel)))
        attention = self.targets.attention_kernel(self.family.name, self.sm, str(self.target.release))
        if attention is not None and attention.status == "contested":
            notes.append(Note(attention.fact.statement, _issues(attention)))
        contested = any(k is not None and k.status == "contested" for k in (kernel, attention))
        return Choice(layout, kernel, tuple(facts), tuple(notes), contested, instead_of)


def _issues(kernel: Kernel) -> str:
    return "NVIDIA/TensorRT-LLM " + ", ".join(f"#{number}" for number in kernel.reports)

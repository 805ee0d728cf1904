"""All that trtkit knows about targets, from ``data/*.yaml``, and the look-ups in it."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from functools import cache, cached_property

from toolkit.errors import PlanError
from toolkit.trtllm.facts import Fact, Record, oldest, read
from toolkit.trtllm.gpus import Gpu, parse_gpus
from toolkit.trtllm.images import Image, parse_images
from toolkit.trtllm.kernels import Format, Kernel, Part, best_first, parse_kernels, parse_notes
from toolkit.trtllm.releases import Era, GptOssNvfp4, Release, parse_eras, parse_gpt_oss_nvfp4, releases_of, spans


class Targets(Record):
    eras: tuple[Era, ...]
    gpt_oss_nvfp4: GptOssNvfp4
    gpus: Mapping[str, Gpu]
    kernels: tuple[Kernel, ...]
    notes: tuple[Fact, ...]
    images: tuple[Image, ...]

    @cached_property
    def releases(self) -> dict[str, Release]:
        """By name, oldest first."""
        return releases_of(self.eras)

    @property
    def checked(self) -> str:
        """The oldest day on which one of the facts was read."""
        return oldest(self.facts())

    def facts(self) -> Iterator[Fact]:
        """Every fact once; ids are unique."""
        for era in self.eras:
            yield from era.facts.values()
        yield from self.gpt_oss_nvfp4.facts.values()
        for gpu in self.gpus.values():
            yield from gpu.facts.values()
        yield from (kernel.fact for kernel in self.kernels)
        yield from self.notes
        yield from (image.fact for image in self.images)

    def fact(self, id: str) -> Fact:
        return self.by_id[id]

    @cached_property
    def by_id(self) -> dict[str, Fact]:
        return {fact.id: fact for fact in self.facts()}

    def release(self, name: str) -> Release:
        """Raises ``PlanError`` for a release that is not listed: the nearest number may lack what the meant one has."""
        if name not in self.releases:
            hint = f"Known: {spans(self.releases)}"
            raise PlanError(f"unknown TensorRT-LLM release {name!r}", where="target.release", hint=hint)
        return self.releases[name]

    def gpu(self, name: str) -> Gpu:
        if name not in self.gpus:
            near = difflib.get_close_matches(name.lower(), self.gpus, n=1, cutoff=0.8)
            hint = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(self.gpus)}"
            raise PlanError(f"unknown GPU {name!r}", where="target.gpu", hint=hint)
        return self.gpus[name]

    def find(self, name: str) -> Gpu | Release | Image | Kernel | Fact:
        """The GPU, release, image, kernel or fact of that name. Raises ``PlanError`` with the nearest names."""
        named: Mapping[str, Gpu | Release | Image | Kernel | Fact] = {
            **self.by_id,
            **{kernel.fact.id: kernel for kernel in self.kernels},
            **{image.tag: image for image in self.images},
            **self.releases,
            **self.gpus,
        }
        if name not in named:
            tags = (image.tag for image in self.images)
            near = difflib.get_close_matches(name.lower(), (*self.gpus, *self.releases, *tags), n=3)
            near = near or difflib.get_close_matches(name.lower(), self.by_id, n=1)
            known = f"Known: {', '.join(self.gpus)}; {spans(self.releases)}"
            hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else known
            raise PlanError(f"no GPU, release, image or fact has the name {name!r}", hint=hint)
        return named[name]

    def images_for(self, release: str) -> tuple[Image, ...]:
        """Triton's first, newest first."""
        return tuple(image for image in self.images if image.release == release)

    def moe_kernels(
        self, family: str, format: Format, sm: int, release: str | None = None, *, opt_in: bool = False
    ) -> tuple[Kernel, ...]:
        """Backends that run fused experts of ``family``, best first; the first supported one is what AUTO resolves to.

        ``release`` None: as of the newest. ``opt_in`` adds backends that run only when asked for by LLM arguments.
        """
        asked = self.opt_in_kernels("moe", family, format, sm) if opt_in else ()
        return (*self._kernels("moe", family, format, sm, release), *(k for k in asked if self._has(release, k)))

    def linear_kernel(self, format: Format, sm: int, release: str | None = None) -> Kernel | None:
        """What runs dense linears (attention projections, MLP, lm_head) with weights in ``format``."""
        return next(iter(self._kernels("linear", None, format, sm, release)), None)

    def attention_kernel(self, family: str, sm: int, release: str | None = None) -> Kernel | None:
        """What runs attention of ``family``: gpt-oss needs attention sinks."""
        return next(iter(self._kernels("attention", family, None, sm, release)), None)

    def kv_kernel(self, family: str, dtype: Format, sm: int, release: str | None = None) -> Kernel | None:
        """What runs attention of ``family`` over a quantised KV cache."""
        return next(iter(self._kernels("kv", family, dtype, sm, release)), None)

    def opt_in_kernels(self, part: Part, family: str, format: Format, sm: int) -> tuple[Kernel, ...]:
        """Kernels that run only when LLM arguments ask for them, in any release."""
        return tuple(kernel for kernel in self.kernels if kernel.opt_in and kernel.runs(part, family, format, sm))

    def kernel_fact(self, kernel: Kernel, release: str) -> Fact:
        """The fact of ``kernel``, only inferred for a release older than those that its source speaks of."""
        if kernel.seen is None or not self._is_older(release, kernel.seen) or kernel.fact.status != "verified":
            return kernel.fact
        statement = f"{kernel.fact.statement} Read of {kernel.seen}; that {release} does the same is inferred."
        return kernel.fact.model_copy(update={"statement": statement, "status": "inferred"})

    def _kernels(
        self, part: Part, family: str | None, format: Format | None, sm: int, release: str | None
    ) -> tuple[Kernel, ...]:
        found = (kernel for kernel in self.kernels if kernel.runs(part, family, format, sm) and kernel.opt_in is None)
        return best_first(kernel for kernel in found if self._has(release, kernel))

    def _has(self, release: str | None, kernel: Kernel) -> bool:
        return kernel.since is None or release is None or not self._is_older(release, kernel.since)

    def _is_older(self, release: str, than: str) -> bool:
        return self._order[self.release(release).name] < self._order[than]

    @cached_property
    def _order(self) -> dict[str, int]:
        return {name: position for position, name in enumerate(self.releases)}


@cache
def load_targets() -> Targets:
    releases, kernel_data, rules = read("releases"), read("kernels"), read("rules")
    eras = parse_eras(releases)
    return Targets(
        eras=eras,
        gpt_oss_nvfp4=parse_gpt_oss_nvfp4(releases),
        gpus=parse_gpus(read("gpus")),
        kernels=parse_kernels(kernel_data),
        notes=(
            *parse_notes(kernel_data["notes"], kernel_data["checked"]),
            *parse_notes(rules["rules"], rules["checked"]),
        ),
        images=parse_images(read("images"), releases_of(eras)),
    )

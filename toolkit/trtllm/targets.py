"""All that trtkit knows about targets, from ``data/*.yaml``, and the look-ups in it."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from functools import cache, cached_property

from toolkit.errors import PlanError
from toolkit.trtllm.facts import Fact, Record, oldest, read
from toolkit.trtllm.gpus import Gpu, parse_gpus
from toolkit.trtllm.images import Image, parse_images
from toolkit.trtllm.kernels import Format, Kernel, best_first, parse_kernels, parse_notes
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
            near = difflib.get_close_matches(name.lower(), self.gpus, n=1)
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
        found = (kernel for kernel in self.kernels if kernel.runs("moe", family, format, sm))
        return best_first(kernel for kernel in found if self._available(kernel, release, opt_in))

    def linear_kernel(
        self, format: Format, sm: int, release: str | None = None, *, opt_in: bool = False
    ) -> Kernel | None:
        """What runs dense linears (attention projections, MLP, lm_head) with weights in ``format``."""
        found = (kernel for kernel in self.kernels if kernel.runs("linear", None, format, sm))
        return next(iter(best_first(k for k in found if self._available(k, release, opt_in))), None)

    def attention_kernel(self, family: str, sm: int, release: str | None = None) -> Kernel | None:
        """What runs attention of ``family``: gpt-oss needs attention sinks."""
        found = (kernel for kernel in self.kernels if kernel.runs("attention", family, None, sm))
        return next(iter(best_first(k for k in found if self._available(k, release, False))), None)

    def _available(self, kernel: Kernel, release: str | None, opt_in: bool) -> bool:
        if kernel.opt_in is not None and not opt_in:
            return False
        if kernel.since is None or release is None:
            return True
        order = list(self.releases)
        return order.index(kernel.since) <= order.index(self.release(release).name)


@cache
def load_targets() -> Targets:
    releases, kernel_data = read("releases"), read("kernels")
    eras, kernels = parse_eras(releases), parse_kernels(kernel_data)
    nvfp4 = [kernel for kernel in kernels if "gpt-oss" in kernel.families and kernel.format == "nvfp4"]
    return Targets(
        eras=eras,
        gpt_oss_nvfp4=parse_gpt_oss_nvfp4(releases, {sm: kernel.backend for kernel in nvfp4 for sm in kernel.sm}),
        gpus=parse_gpus(read("gpus")),
        kernels=kernels,
        notes=parse_notes(kernel_data),
        images=parse_images(read("images"), releases_of(eras)),
    )

"""Which backend runs which weights on which SM: fused experts, dense linears, attention, quantised KV caches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from toolkit.trtllm.facts import Fact, Record

Part = Literal["moe", "linear", "attention", "kv"]
Format = Literal["nvfp4", "mxfp4", "bf16", "fp8"]


class Kernel(Record):
    """One row of the data. ``algo``: TensorRT-LLM's QuantAlgo, ``BF16`` for unquantised, else what is computed.

    ``families``: empty means every family. ``format`` of the weights, or of the KV cache: None for attention.
    ``reports``: NVIDIA/TensorRT-LLM issues and pull requests against it. ``since``: the first release known to have it.
    ``seen``: the earliest release that the source speaks of; for older ones the fact is inferred.
    ``opt_in``: the LLM arguments that it must be asked for with; such a kernel is never chosen by itself.
    """

    part: Part
    families: tuple[str, ...] = ()
    format: Format | None = None
    backend: str
    algo: str
    sm: tuple[int, ...]
    status: Literal["supported", "contested"]
    reports: tuple[int, ...] = ()
    since: str | None = None
    seen: str | None = None
    opt_in: str | None = None
    fact: Fact

    def runs(self, part: Part, family: str | None, format: Format | None, sm: int) -> bool:
        """``family`` None: any."""
        return (
            self.part == part
            and (family is None or not self.families or family in self.families)
            and self.format == format
            and sm in self.sm
        )


def parse_kernels(data: Mapping[str, Any]) -> tuple[Kernel, ...]:
    return tuple(_kernel(part, row, data["checked"]) for part, rows in data["kernels"].items() for row in rows)


def parse_notes(entries: Mapping[str, Mapping[str, Any]], checked: str) -> tuple[Fact, ...]:
    """Facts by id; one without its own ``checked`` date was read on that of its file."""
    return tuple(Fact(id=id, **{"checked": checked, **entry}) for id, entry in entries.items())


def best_first(kernels: Iterable[Kernel]) -> tuple[Kernel, ...]:
    """Supported before contested; else the order of the data, which is that of AUTO and of NVIDIA's guide."""
    return tuple(sorted(kernels, key=lambda kernel: kernel.status == "contested"))


def _kernel(part: str, row: Mapping[str, Any], checked: str) -> Kernel:
    fact_fields = ("id", "statement", "source", "checked")
    fact = {"checked": checked, "status": row["known"], **{key: row[key] for key in fact_fields if key in row}}
    rest = {key: value for key, value in row.items() if key not in (*fact_fields, "known")}
    return Kernel.model_validate({"part": part, **rest, "fact": fact})

"""What the checks look at, and how a check is declared."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from toolkit.checkpoint.census import Census
from toolkit.checkpoint.header import TensorInfo
from toolkit.checkpoint.source import CONFIG, QUANT_CONFIG
from toolkit.inspection.declared import algorithm, algorithm_of, quantized_layers
from toolkit.inspection.finding import Finding
from toolkit.inspection.foreign import shown
from toolkit.inspection.modules import Module


@dataclass(frozen=True)
class Subject:
    """``scalars`` are the values of scalar scales; empty where only headers were read."""

    census: Census
    modules: Sequence[Module]
    scalars: Mapping[str, float]

    @cached_property
    def formats(self) -> frozenset[str]:
        return frozenset(module.format for module in self.modules)

    @cached_property
    def algo(self) -> str:
        """The declared quantisation, upper case; empty where none is."""
        return algorithm(self.census)

    @cached_property
    def layers(self) -> Mapping[str, str]:
        """Module → algorithm, of MIXED_PRECISION."""
        return quantized_layers(self.census)

    def algo_of(self, module: Module) -> str:
        """The declared quantisation of one module."""
        return algorithm_of(module.name, self.algo, self.layers)

    @property
    def version(self) -> tuple[int, ...]:
        """(major, minor) of the ModelOpt that wrote it; empty for another producer or an unreadable version."""
        quant = self.census.quant
        if quant is None or quant.producer != "modelopt" or not isinstance(quant.version, str):
            return ()
        parts = quant.version.split(".")[:2]
        return tuple(int(part) for part in parts) if all(part.isdecimal() for part in parts) else ()


@dataclass(frozen=True, slots=True)
class Check:
    """``run`` yields findings with this ``id`` and no other."""

    id: str
    run: Callable[[Subject], Iterator[Finding]]


def said_in(subject: Subject) -> str:
    """The file that the quantisation was read from."""
    return QUANT_CONFIG if subject.census.quant_config is not None else CONFIG


def place(info: TensorInfo) -> str:
    """Where a finding about a tensor is: its file and its name."""
    return f"{shown(info.shard)}, tensor '{shown(info.name)}'"


def module_place(module: Module) -> str:
    return place(module.weight or next(iter(module.tensors.values())))


def first_of(names: Sequence[str], tensors: Mapping[str, TensorInfo]) -> str:
    return place(tensors[names[0]])


def count(items: Collection[object], noun: str) -> str:
    """``1 tensor``, ``72 tensors``."""
    return plural(len(items), noun)


def plural(number: int, noun: str) -> str:
    """``1 tensor``, ``72 tensors``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def listed(names: Iterable[str], most: int = 4) -> str:
    """``a, b, c and 9 more``, fit for one line."""
    every = list(names)
    rest = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(map(shown, every[:most])) + rest

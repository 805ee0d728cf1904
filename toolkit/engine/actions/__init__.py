"""How each kind of action makes its bytes: one function a kind, which decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from toolkit.engine.actions.formats import cast, dequantize, transcode
from toolkit.engine.actions.job import Job, Piece, jobs_of
from toolkit.engine.actions.rescale import rescale
from toolkit.engine.actions.unchanged import drop, fill, keep, relay, take
from toolkit.engine.reader import Sources
from toolkit.plan.types import ActionKind

__all__ = ["MAKERS", "Job", "Piece", "jobs_of"]

MAKERS: Mapping[ActionKind, Callable[[Job, Sources], Iterator[Piece]]] = {
    "keep": keep,
    "dequantize": dequantize,
    "transcode": transcode,
    "cast": cast,
    "rescale": rescale,
    "relay": relay,
    "take": take,
    "fill": fill,
    "drop": drop,
}

"""The releases in which something exists: from ``added`` on, and before ``removed``."""

from __future__ import annotations

import re

from pydantic import model_validator

from toolkit.errors import PlanError
from toolkit.trtllm.facts import Record

_RELEASE = re.compile(r"(\d+)\.(\d+)\.(\d+)(?:rc(\d+))?(?:\.post\d+)?", re.ASCII)
FINAL = 1 << 30


def order(release: str) -> tuple[int, int, int, int]:
    """A sort key: ``1.3.0rc7`` < ``1.3.0rc20`` < ``1.3.0``; raises PlanError for what is not a release's name."""
    found = _RELEASE.fullmatch(release)
    if found is None:
        raise PlanError(
            f"{release!r} is not the name of a TensorRT-LLM release",
            where="target.release",
            hint="Write it as 1.2.1 or 1.3.0rc20",
        )
    major, minor, patch, candidate = found.groups()
    return int(major), int(minor), int(patch), FINAL if candidate is None else int(candidate)


class Span(Record):
    """``added`` and ``removed`` are None where no text names the release: then nothing is refused for its age."""

    added: str | None = None
    removed: str | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Span:
        bounds = [order(bound) for bound in (self.added, self.removed) if bound is not None]
        if bounds != sorted(set(bounds)):
            raise ValueError(f"added {self.added} is not before removed {self.removed}")
        return self

    def too_early(self, release: str) -> bool:
        """Whether ``release`` came out before this was added."""
        return self.added is not None and order(release) < order(self.added)

    def too_late(self, release: str) -> bool:
        """Whether ``release`` is one without it again."""
        return self.removed is not None and order(release) >= order(self.removed)

    def covers(self, release: str) -> bool:
        return not (self.too_early(release) or self.too_late(release))

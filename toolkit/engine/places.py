"""The folders that a build uses beside its output, under names that nobody else takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from toolkit.engine.bundle import CHECKPOINT, MANIFEST, read_manifest
from toolkit.errors import BundleError


@dataclass(frozen=True, slots=True)
class Places:
    """``partial`` is where the bundle grows, ``old`` where the one before waits to be removed."""

    output: Path

    @classmethod
    def of(cls, output: Path) -> Places:
        """Links are followed first: a bundle goes where the link points, and one folder has one lock."""
        resolved = output.resolve()
        if not resolved.name:
            raise BundleError("this cannot be a bundle's folder", where=str(output), hint="Set engine.output")
        return cls(resolved)

    def _beside(self, suffix: str) -> Path:
        return self.output.with_name(f".{self.output.name}.trtkit-{suffix}")

    @property
    def partial(self) -> Path:
        return self._beside("partial")

    @property
    def old(self) -> Path:
        return self._beside("old")

    @property
    def lock(self) -> Path:
        return self._beside("lock")

    @property
    def checkpoint(self) -> Path:
        """The checkpoint folder that grows."""
        return self.partial / CHECKPOINT

    def check(self, sources: tuple[Path, ...]) -> None:
        """Raise ``BundleError`` unless the output is free, empty or a bundle, and no source stands inside it."""
        output, hint = self.output, "Set engine.output to another folder"
        if (output / MANIFEST).is_file():
            read_manifest(output)
        elif output.exists() and not _is_empty(output):
            raise BundleError("this is not an engine bundle, so it is left alone", where=str(output), hint=hint)
        for source in sources:
            if source.resolve().is_relative_to(output):
                raise BundleError(f"the source {source} stands inside the output", where=str(output), hint=hint)


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())

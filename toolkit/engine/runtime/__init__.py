"""Runtimes behind one protocol. ``open_engine`` picks the adapter that a bundle was built for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from toolkit.errors import EngineError

if TYPE_CHECKING:
    from toolkit.engine.bundle import Bundle
    from toolkit.engine.runtime.protocol import Engine


def open_engine(bundle: Bundle) -> Engine:
    """Load the bundle with the limits of its recipe. Raises EngineError if its runtime is not in this process."""
    if bundle.runtime != "cpu":
        raise EngineError(
            f"this bundle is for {bundle.runtime}, which needs TensorRT-LLM and a GPU",
            where=str(bundle.folder),
            hint="Build one that runs here: trtkit engine RECIPE --set target.runtime=cpu",
        )
    from toolkit.engine.runtime.cpu import CpuEngine

    limits = bundle.recipe.engine
    return CpuEngine.load(
        bundle.checkpoint_dir,
        max_batch_size=limits.max_batch_size,
        max_num_tokens=limits.max_num_tokens,
        max_seq_len=limits.max_seq_len,
        precision=limits.precision,
        experts=limits.experts,
        threads=limits.threads,
    )

"""Runtimes behind one protocol. ``open_engine`` picks the adapter that a bundle was built for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from toolkit.engine.bundle import Bundle
    from toolkit.engine.runtime.protocol import Engine


def open_engine(bundle: Bundle) -> Engine:
    """Load the bundle with the limits of its recipe. Raises EngineError if its runtime cannot run here."""
    if bundle.runtime == "tensorrt-llm":
        from toolkit.engine.runtime.tensorrt_llm import TrtllmEngine

        return TrtllmEngine.open(bundle)
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

"""The CPU runtime: a gpt-oss checkpoint on NumPy, exact and with continuous batching."""

from toolkit.engine.runtime.cpu.engine import CpuEngine

__all__ = ["CpuEngine"]

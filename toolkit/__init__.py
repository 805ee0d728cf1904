"""trtkit: take a ModelOpt FP4 checkpoint to a verified TensorRT-LLM deployment with recorded numbers."""

__version__ = "0.1.0"
__all__ = ["__version__"]

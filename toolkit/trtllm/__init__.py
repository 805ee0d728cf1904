"""What each TensorRT-LLM release accepts, read from ``data/releases.yaml``."""

from toolkit.trtllm.releases import GptOssNvfp4, Gpu, Release, Targets, load_targets

__all__ = ["GptOssNvfp4", "Gpu", "Release", "Targets", "load_targets"]

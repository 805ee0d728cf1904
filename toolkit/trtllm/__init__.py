"""What each TensorRT-LLM release accepts and each GPU runs, read from ``data/*.yaml``."""

from toolkit.trtllm.facts import Fact
from toolkit.trtllm.gpus import Gpu
from toolkit.trtllm.images import Image
from toolkit.trtllm.kernels import Kernel
from toolkit.trtllm.releases import GptOssNvfp4, Release
from toolkit.trtllm.targets import Targets, load_targets

__all__ = ["Fact", "GptOssNvfp4", "Gpu", "Image", "Kernel", "Release", "Targets", "load_targets"]

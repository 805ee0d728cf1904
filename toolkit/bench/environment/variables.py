"""Environment variables that change what is measured on a GPU, without what they may give away.

A value is shown as it is if it is a number or one of the words that NCCL and TensorRT-LLM define; of any other (a path,
a host, an interface) only a hash is kept, which still tells whether two are equal.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

PREFIXES = ("TRTLLM_", "TLLM_", "NCCL_", "CUDA_DEVICE_MAX_CONNECTIONS", "CUDA_LAUNCH_BLOCKING", "CUDA_MODULE_LOADING")
IMAGE = "TRTKIT_IMAGE"
"""The reference of the image with its digest (``name@sha256:…``), set by whoever starts the container."""

# what NVIDIA's images say about themselves, and credentials, are no settings
NO_SETTING = re.compile(r"NCCL_VERSION|.*_(TOKEN|KEY|SECRET|PASSWORD)")
NUMBER = re.compile(r"[-+]?[0-9]{1,18}(\.[0-9]{1,9})?[KMGkmg]?")
WORDS = re.compile(
    "true|false|on|off|yes|no|debug|info|warn|warning|error|trace|version|abort|none"
    "|ring|tree|collnet|collnetchain|collnetdirect|nvls|nvlstree|pat|ll|ll128|simple|loc|nvl|pix|pxb|pxn|phb|sys"
    "|lazy|eager|cutlass|cutedsl|trtllm|deepgemm|triton|vanilla|flashinfer|ucx|nixl|mpi",
    re.IGNORECASE,
)
DIGEST = re.compile(r".+@(sha256:[0-9a-f]{64})")


def overrides(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that count, in the order of their names."""
    names = sorted(name for name in environ if name.startswith(PREFIXES) and not NO_SETTING.fullmatch(name))
    return {name: _shown(environ[name]) for name in names}


def image_digest(environ: Mapping[str, str]) -> str | None:
    """``sha256:…`` of the container's image; None where nobody said it. A container cannot find out by itself."""
    match = DIGEST.fullmatch(environ.get(IMAGE, ""))
    return match.group(1) if match else None


def _shown(value: str) -> str:
    parts = value.split(",")
    if all(NUMBER.fullmatch(part) or WORDS.fullmatch(part) for part in parts):
        return value
    return f"sha256:{hashlib.sha256(value.encode('utf-8', 'surrogateescape')).hexdigest()[:12]}"

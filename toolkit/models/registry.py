"""The model families that trtkit knows, by architecture."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from toolkit.models import gpt_oss, llama, qwen3_moe
from toolkit.models.family import Family

__all__ = ["FAMILIES", "Family", "find"]

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {family.architecture: family for family in (gpt_oss.FAMILY, llama.FAMILY, qwen3_moe.FAMILY)}
)


def find(architecture: str) -> Family | None:
    """The family of a Hugging Face class name, None for one that trtkit does not know."""
    return FAMILIES.get(architecture)

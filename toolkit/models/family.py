"""What a model family knows of its checkpoints: geometry, tensor names and the formats they come in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from toolkit.checkpoint.header import TensorInfo
from toolkit.errors import CheckpointError
from toolkit.models.decoder import ATTENTION
from toolkit.models.geometry import CONFIG_HINT, Geometry, Spec
from toolkit.models.layout import Layout
from toolkit.models.matching import check_tensors, stored_as


@dataclass(frozen=True, slots=True)
class Family:
    """``architecture`` is the Hugging Face class name, ``name`` what trtkit says.

    ``geometry(config, where)`` raises ``CheckpointError`` naming a missing or impossible key of ``where``/config.json.
    ``specs(geometry, layout)`` yields every tensor of a checkpoint in that layout, lazily: a config may promise more
    than there is. ``ffn_probes`` are tensors of layer 0 of which the first found tells the FFN's format.

    ``sizes``: the published models by their number of experts, smallest first, where there are several.
    ``fused_experts``: a layer's experts are two tensors, for which trtkit has both FP4 formats, and the loader builds
    attention in BF16. ``pipeline``: TensorRT-LLM splits the layers over pipeline ranks.
    """

    name: str
    architecture: str
    geometry: Callable[[Mapping[str, Any], str], Geometry]
    specs: Callable[[Geometry, Layout], Iterator[tuple[str, Spec]]]
    ffn_probes: tuple[str, ...]
    sizes: Mapping[int, str] = field(default_factory=dict)
    fused_experts: bool = False
    pipeline: bool = True

    def tensors(self, geometry: Geometry, layout: Layout) -> dict[str, Spec]:
        """Every tensor of a checkpoint in that layout: name → (safetensors dtype, shape)."""
        return dict(self.specs(geometry, layout))

    def size_name(self, geometry: Geometry) -> str:
        """The published model with as many experts or the next more, else the largest; else the family's name."""
        names = [name for experts, name in self.sizes.items() if geometry.experts <= experts]
        return (names or [*self.sizes.values()][-1:] or [self.name])[0]

    def kv_scales(self, geometry: Geometry) -> dict[str, Spec]:
        """The scales of a quantised KV cache, which an export may have on top: name → (dtype, shape)."""
        names = ("k_proj.k_scale", "v_proj.v_scale")
        layers = range(geometry.layers)
        return {f"model.layers.{layer}.self_attn.{name}": ("F32", ()) for layer in layers for name in names}

    def attention_weights(self, geometry: Geometry) -> Iterator[str]:
        """Names of the q, k, v and o projection weights, layer by layer."""
        for layer in range(geometry.layers):
            for projection in ATTENTION:
                yield f"model.layers.{layer}.self_attn.{projection}.weight"

    def match(self, found: Mapping[str, TensorInfo], geometry: Geometry, where: str) -> Layout:
        """The layout of ``found``, every tensor checked against it by name, dtype and shape.

        KV-cache scales may come on top. Raises ``CheckpointError`` naming the checkpoint (``where``) and the first
        tensor that is missing, unknown, or of another dtype or shape, with what was found and what was wanted.
        """
        if geometry.layers > len(found):
            what = f"num_hidden_layers is {geometry.layers}, but there are {len(found)} tensors in all"
            raise CheckpointError(what, where=where, hint=CONFIG_HINT)
        probe = next((name for name in self.ffn_probes if name in found), self.ffn_probes[-1])
        layout = Layout(
            attention=stored_as(found, next(self.attention_weights(geometry)), where),
            ffn=stored_as(found, probe, where),
        )
        check_tensors(found, self.specs(geometry, layout), self.kv_scales(geometry), where, self.architecture)
        if len(geometry.windows) != geometry.layers:
            what = f"layer_types names {len(geometry.windows)} layers, but there are {geometry.layers}"
            raise CheckpointError(what, where=f"{where}/config.json", hint=CONFIG_HINT)
        return layout

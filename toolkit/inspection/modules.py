"""The modules of a checkpoint and how each one's weight is stored, from tensor names, dtypes and shapes alone.

No architecture is known here. A tensor's suffix says what it is to its module::

    nvfp4               X.weight U8 [o, i/2], .weight_scale F8_E4M3 [o, i/16], .weight_scale_2 F32    ModelOpt Linear
                        X U8 [E, i/2, o], X_weight_scale F8_E4M3 [E, i/16, o], X_weight_scale_2 F32   fused experts
    mxfp4               X_blocks U8 [E, o, i/32, 16], X_scales U8 [E, o, i/32]                        openai/gpt-oss
                        X.weight U8 [o, i/2], .weight_scale U8 [o, i/32]                              ModelOpt Linear
    fp8                 X.weight F8_E4M3 [o, i], .weight_scale or .weight_scale_inv                   ModelOpt, DeepSeek
    int8                X.weight I8 [o, i], .weight_scale                                             ModelOpt
    int4                X.weight U8 [o/2, i], .weight_scale F32, BF16 or F16 [o, i/g]                 ModelOpt AWQ
    compressed-tensors  X.weight_packed U8 [o, i/2], .weight_scale F8_E4M3, .weight_global_scale F32
    bf16, f16, f32 …    a weight of that dtype without scales
    unknown             anything else

Scales of MXFP4 may have dtype F8_E8M0 in place of U8.

Sources: exports of ModelOpt 0.37 to 0.47; compressed-tensors 0.20 ``nvfp4-pack-quantized``; transformers
``convert_moe_packed_tensors``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import prod

from toolkit.checkpoint.header import TensorInfo

UNKNOWN = "unknown"
PACKED = frozenset({"nvfp4", "mxfp4", "compressed-tensors"})
"""Formats with two FP4 elements in a byte."""
QUANTISED = PACKED | {"fp8", "int8", "int4"}
SCALE_ROLES = (
    *("weight_scale", "weight_scale_2", "weight_scale_inv", "weight_global_scale"),
    *("input_scale", "input_global_scale", "k_scale", "v_scale", "pre_quant_scale"),
)
_EIGHT_BITS = {"F8_E4M3": "fp8", "I8": "int8"}
_FLOATS = ("F32", "BF16", "F16")
_E8M0 = ("U8", "F8_E8M0")
_UNDERSCORED = ("weight_scale_2", "weight_scale", "input_scale")
_KV_BIASES = {"k_bias": ".k_proj", "v_bias": ".v_proj"}  # ModelOpt's affine KV cache
_WEIGHT_SCALES = frozenset({"weight_scale", "weight_scale_2", "weight_scale_inv", "weight_global_scale", "scales"})


@dataclass(frozen=True, slots=True)
class Module:
    """One weight with its bias and scales. ``tensors`` maps role (``weight``, ``weight_scale`` …) to tensor.

    ``shape`` is the weight's in elements as stored, packed ones counted: [out, in], or [E, in, out] for fused experts
    of ModelOpt and [E, out, in] for MXFP4.
    """

    name: str
    format: str
    shape: tuple[int, ...]
    tensors: Mapping[str, TensorInfo]

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors.values())

    @property
    def parameters(self) -> int:
        """Elements of weight and bias; scales are none."""
        extra = (t.elements for role, t in self.tensors.items() if role == "bias")
        return (prod(self.shape) if self.weight is not None else 0) + sum(extra)

    @property
    def weight(self) -> TensorInfo | None:
        """The tensor that holds the weight, packed or not."""
        return next(
            (self.tensors[role] for role in ("weight", "blocks", "weight_packed") if role in self.tensors), None
        )

    @property
    def block_scales(self) -> TensorInfo:
        """The scales of blocks, of a module in one of the ``PACKED`` formats."""
        return self.tensors["scales" if "scales" in self.tensors else "weight_scale"]

    @property
    def fused(self) -> bool:
        """Whether this is a parameter of its own (experts of one layer in one tensor, sinks), not ``X.weight``."""
        return self.weight is not None and self.weight.name in (self.name, f"{self.name}_blocks")


def modules(tensors: Mapping[str, TensorInfo]) -> tuple[Module, ...]:
    """Every tensor in exactly one module, in the order in which modules first appear."""
    parts: dict[str, dict[str, TensorInfo]] = {}
    for name, info in tensors.items():
        stem, role = _split(name, tensors)
        roles = parts.setdefault(stem, {})
        roles[name if role in roles else role] = info  # X.weight_scale and X_weight_scale may both be there
    return tuple(_module(name, roles) for name, roles in parts.items())


def _split(name: str, tensors: Mapping[str, TensorInfo]) -> tuple[str, str]:
    """(module, role); a tensor that belongs to no other is its own module's weight."""
    head, _, tail = name.rpartition(".")
    if tail in SCALE_ROLES or tail in ("weight", "weight_packed", "bias"):
        return head, tail
    if tail in _KV_BIASES and head.endswith(_KV_BIASES[tail]):
        return head, tail
    for role in _UNDERSCORED:
        if tail.endswith("_" + role):
            return name.removesuffix("_" + role), role
    for role in ("blocks", "scales", "bias"):
        stem = name.removesuffix("_" + role)
        if stem != name and _has_weight(stem, role, tensors):
            return stem, role
    return name, "weight"


def _has_weight(stem: str, role: str, tensors: Mapping[str, TensorInfo]) -> bool:
    return f"{stem}_blocks" in tensors or (role == "bias" and stem in tensors)


def _module(name: str, roles: Mapping[str, TensorInfo]) -> Module:
    stored = Module(name, _format(roles), (), roles)
    return replace(stored, shape=_shape(stored))


def _format(roles: Mapping[str, TensorInfo]) -> str:
    dtypes = {role: info.dtype for role, info in roles.items()}
    scales = _WEIGHT_SCALES & dtypes.keys()
    if "blocks" in dtypes:
        return "mxfp4" if dtypes["blocks"] == "U8" and dtypes.get("scales") in _E8M0 else UNKNOWN
    if "weight_packed" in dtypes:
        whole = dtypes.get("weight_scale") == "F8_E4M3" and "weight_global_scale" in dtypes
        return "compressed-tensors" if dtypes["weight_packed"] == "U8" and whole else UNKNOWN
    if "weight" not in dtypes:
        return UNKNOWN if scales else next(iter(dtypes.values())).lower()
    weight = dtypes["weight"]
    if weight == "U8":
        return _format_of_bytes(roles)
    if weight in _EIGHT_BITS and (scales or weight == "F8_E4M3"):
        return _EIGHT_BITS[weight] if scales else UNKNOWN
    return UNKNOWN if scales else weight.lower()


def _format_of_bytes(roles: Mapping[str, TensorInfo]) -> str:
    """Of a weight in bytes, by the dtype of its scales."""
    scale, scale_2 = roles.get("weight_scale"), roles.get("weight_scale_2")
    if scale is None:
        return UNKNOWN
    if scale.dtype == "F8_E4M3":
        return "nvfp4" if scale_2 is not None and scale_2.dtype == "F32" else UNKNOWN
    if scale.dtype in _E8M0:
        return "mxfp4" if scale_2 is None else UNKNOWN
    return "int4" if scale.dtype in _FLOATS and min(len(scale.shape), len(roles["weight"].shape)) >= 2 else UNKNOWN


def _shape(module: Module) -> tuple[int, ...]:
    weight = module.weight
    if weight is None:
        return next(iter(module.tensors.values())).shape
    shape = list(weight.shape)
    if "blocks" in module.tensors and module.format == "mxfp4" and len(shape) >= 2:
        return (*shape[:-2], 2 * shape[-2] * shape[-1])
    if module.format == "int4":
        shape[-2] *= 2
    elif module.format in PACKED and shape:
        shape[k_axis(module)] *= 2
    return tuple(shape)


def k_axis(module: Module) -> int:
    """The packed axis of ``weight``: the last, but the one before it for ModelOpt's fused experts [E, in/2, out]."""
    fused = module.format == "nvfp4" and module.fused and module.weight is not None and len(module.weight.shape) >= 3
    return -2 if fused else -1


def parameters(found: Iterable[Module]) -> int:
    """Weights and biases of all modules, two for each packed byte."""
    return sum(module.parameters for module in found)

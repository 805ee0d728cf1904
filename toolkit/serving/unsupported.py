"""Inputs of NVIDIA's models that this one declares only to say, in one line, what it does not have.

From the llmapi model, the ensemble and the BLS model of TensorRT-LLM's ``triton_backend``. Undeclared, Triton would
call them unknown; declared and ignored, a client would get an answer to another question.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from toolkit.errors import RequestError
from toolkit.serving.tensors import Datatype


@dataclass(frozen=True, slots=True)
class Unsupported:
    """One such input. ``neutral`` values ask for nothing and pass, as an empty tensor does."""

    name: str
    datatype: Datatype
    what: str
    dims: tuple[int, ...] = (1,)
    neutral: tuple[Any, ...] = ()

    def asked(self, array: npt.NDArray[Any]) -> bool:
        """Whether ``array`` asks for it. Only as many elements are looked at as could be neutral ones."""
        if not array.size:
            return False
        if not self.neutral or array.size > MAX_NEUTRAL:
            return True
        return any(value not in self.neutral for value in array.ravel().tolist())


MAX_NEUTRAL = 64
LORA, VISION, GUIDED = "LoRA adapters", "images or video", "guided decoding"
BIAS, DRAFTS, TABLE, LOGITS = "embedding biases", "draft tokens by request", "prompt embedding tables", "logits"
EMPTY, ZERO, NO = (b"",), (0,), (False,)

UNSUPPORTED = (
    Unsupported("image_url", "BYTES", VISION, (-1,), EMPTY),
    Unsupported("sampling_param_logits_post_processor_name", "BYTES", "logits processors", neutral=EMPTY),
    Unsupported("lora_id", "UINT64", LORA),
    Unsupported("lora_name", "BYTES", LORA, neutral=EMPTY),
    Unsupported("lora_path", "BYTES", LORA, neutral=EMPTY),
    Unsupported("lora_ckpt_source", "BYTES", LORA, neutral=EMPTY),
    Unsupported("decoder_text_input", "BYTES", "a decoder of its own", neutral=EMPTY),
    Unsupported("bad_words", "BYTES", "bad words", (-1,), EMPTY),
    Unsupported("return_context_logits", "BOOL", LOGITS, neutral=NO),
    Unsupported("return_generation_logits", "BOOL", LOGITS, neutral=NO),
    Unsupported("prompt_embedding_table", "FP16", TABLE, (-1, -1)),
    Unsupported("prompt_table_extra_id", "UINT64", TABLE),
    Unsupported("prompt_vocab_size", "INT32", TABLE, neutral=ZERO),
    Unsupported("embedding_bias_words", "BYTES", BIAS, (-1,), EMPTY),
    Unsupported("embedding_bias_weights", "FP32", BIAS, (-1,), (0.0,)),
    Unsupported("lora_task_id", "UINT64", LORA),
    Unsupported("lora_weights", "FP16", LORA, (-1, -1)),
    Unsupported("lora_config", "INT32", LORA, (-1, 3)),
    Unsupported("guided_decoding_guide_type", "BYTES", GUIDED, neutral=EMPTY),
    Unsupported("guided_decoding_guide", "BYTES", GUIDED, neutral=EMPTY),
    Unsupported("image_input", "FP16", VISION, (-1, 3, -1, -1)),
    Unsupported("image_bytes_input", "UINT8", VISION, (-1, -1, -1, -1)),
    Unsupported("video_bytes_input", "UINT8", VISION, (-1, -1, -1, -1)),
    Unsupported("image_url_input", "BYTES", VISION, neutral=EMPTY),
    Unsupported("num_draft_tokens", "INT32", DRAFTS, neutral=ZERO),
    Unsupported("use_draft_logits", "BOOL", DRAFTS, neutral=NO),
)


def refuse(tensors: Mapping[str, npt.NDArray[Any]]) -> None:
    """Raise ``RequestError`` for the first input that asks for something this model does not have."""
    for spec in UNSUPPORTED:
        if spec.name in tensors and spec.asked(tensors[spec.name]):
            raise RequestError(f"input {spec.name!r} asks for {spec.what}, which this model does not have")

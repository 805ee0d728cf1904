from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

from tensorrt_llm import __version__
from tensorrt_llm.executor import Executor, RequestError
from tensorrt_llm.executor.result import GenerationResult, IterationResult
from tensorrt_llm.llmapi.llm_args import TorchLlmArgs
from tensorrt_llm.sampling_params import SamplingParams


class LLM:
    made: ClassVar[list[LLM]] = []
    """Every one so far, for tests; ``kwargs`` are what it was made with."""

    def __init__(self, model: str, **kwargs: Any) -> None:
        self.kwargs = {"model": model, **kwargs}
        self.args = TorchLlmArgs(**self.kwargs)
        config = json.loads(Path(model, "config.json").read_text())
        self._executor: Executor | None = Executor(self.args, config.get("vocab_size", 257))
        if __version__.startswith("1.3"):
            self._check_health = lambda: self._executor is not None and self._executor.check_health()
        LLM.made.append(self)

    def generate_async(
        self,
        inputs: list[int],
        sampling_params: SamplingParams | None = None,
        lora_request: Any = None,
        prompt_adapter_request: Any = None,
        streaming: bool = False,
    ) -> GenerationResult:
        if self._executor is None or self._executor.is_shutdown():
            raise RuntimeError("LLM is shutting down")
        params = sampling_params or SamplingParams()
        if params.end_id is None:
            raise ValueError("tokenizer is required to reset end_id if it is None")
        if len(inputs) > self.args.max_num_tokens and not self.args.enable_chunked_prefill:
            kind = RequestError if __version__.startswith("1.3") else ValueError
            raise kind(f"The sum of prompt length ({len(inputs)}.0), query length (0) should not exceed max_num_tokens")
        return self._executor.submit(inputs, params, streaming)

    def get_stats_async(self, timeout: float | None = 2) -> IterationResult:
        assert self._executor is not None
        return self._executor.aget_stats(timeout)

    def shutdown(self) -> None:
        if self._executor is not None:
            self._executor.shutdown()
            self._executor = None

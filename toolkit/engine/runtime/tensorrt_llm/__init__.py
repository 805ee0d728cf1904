"""The TensorRT-LLM runtime: NVIDIA's LLM API behind the ``Engine`` protocol.

The contract was read from NVIDIA/TensorRT-LLM. By the era of the text, for releases 1.0 to 1.4:

    1.0   executor/{executor,proxy,worker,result}.py @005bc848; sampling_params.py @000a01de
    1.2   llmapi/llm.py, executor/result.py, sampling_params.py (commits unknown)
    1.3+  llmapi/llm.py, executor/base_worker.py, the tests of fatal errors (commits unknown);
          docs/source/features/sampling.md @05ce57bc
    all   triton_backend/all_models/llmapi/tensorrt_llm/1/model.py @044a90d2, for ranks and argument files

Where releases differ, ``api`` looks once at what is installed; nothing asks for a version but ``release``, which holds
a bundle to the release that it was planned for. What each module's docstring says of a release was read, not run: no
GPU has run this adapter.
"""

from toolkit.engine.runtime.tensorrt_llm.engine import TrtllmEngine

__all__ = ["TrtllmEngine"]

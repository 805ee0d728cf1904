"""A stand-in for NVIDIA's ``tensorrt_llm`` that keeps to the documented LLM API, with arithmetic for a model.

The environment variable FAKE_TRTLLM_RELEASE says which release it is like: 1.1.0, 1.2.1 (the default) or 1.3.0rc20.
Tokens are counted upward: through the alphabet from a letter, through the vocabulary from anything else. What else
happens to a request is asked for with its prompt's first byte:

    h  hold: one token, then nothing until it is aborted
    f  one token, then an error of this request
    n  the worker finds that it can never fit
    d  one token, then the worker process is gone
"""

import os

__version__ = os.environ.get("FAKE_TRTLLM_RELEASE", "1.2.1")

from tensorrt_llm.llmapi.llm import LLM
from tensorrt_llm.sampling_params import SamplingParams

__all__ = ["LLM", "SamplingParams"]

"""Outputs and errors → Triton responses."""

from __future__ import annotations

from typing import Any

from toolkit.errors import EngineError, RequestError, TrtkitError
from toolkit.serving.reply import Outputs


class QueueFullError(EngineError):
    """The request may succeed later."""


class CancelledError(EngineError):
    """The client is gone, or has stopped the request."""


class Responder:
    """Sends through Triton's response senders; ``pb`` is ``triton_python_backend_utils``."""

    def __init__(self, pb: Any) -> None:
        self._pb = pb

    def send(self, sender: Any, outputs: Outputs, *, final: bool = False) -> None:
        tensors = [self._pb.Tensor(name, array) for name, array in outputs.items()]
        flags = self._pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL if final else 0
        sender.send(self._pb.InferenceResponse(output_tensors=tensors), flags=flags)

    def fail(self, sender: Any, error: Exception) -> None:
        """End a request with ``error``; one that trtkit did not raise on purpose is logged as well."""
        text = one_line(error)
        if not isinstance(error, TrtkitError):
            text = f"{type(error).__name__}: {text}"
            self.log(text)
        response = self._pb.InferenceResponse(output_tensors=[], error=self._pb.TritonError(text, self._code(error)))
        sender.send(response, flags=self._pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    def log(self, text: str) -> None:
        self._pb.Logger.log_error(f"trtkit: {text}")

    def _code(self, error: Exception) -> Any:
        codes = self._pb.TritonError
        if isinstance(error, QueueFullError):
            return codes.UNAVAILABLE
        if isinstance(error, CancelledError):
            return codes.CANCELLED
        return codes.INVALID_ARG if isinstance(error, RequestError) else codes.INTERNAL


def one_line(error: BaseException) -> str:
    return " ".join(str(error).split())

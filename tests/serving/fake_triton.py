"""What ``toolkit.serving.model`` uses of ``triton_python_backend_utils``, recording instead of sending."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

TRITONSERVER_RESPONSE_COMPLETE_FINAL = 1


class TritonModelException(Exception):
    pass


class TritonError(Exception):
    INTERNAL, INVALID_ARG, UNAVAILABLE, CANCELLED = "INTERNAL", "INVALID_ARG", "UNAVAILABLE", "CANCELLED"

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.message, self.code = message, code


class Logger:
    errors: list[str] = []  # noqa: RUF012

    @classmethod
    def log_error(cls, text: str) -> None:
        cls.errors.append(text)


@dataclass
class Tensor:
    _name: str
    array: Any

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> Any:
        return self.array


@dataclass
class InferenceResponse:
    output_tensors: list[Tensor]
    error: TritonError | None = None


class _Metric:
    def __init__(self) -> None:
        self.value = 0.0
        self.observed: list[float] = []

    def set(self, value: float) -> None:
        self._check()
        self.value = value

    def increment(self, value: float) -> None:
        self._check()
        self.value += value

    def observe(self, value: float) -> None:
        self._check()
        self.observed.append(value)

    def _check(self) -> None:
        if MetricFamily.broken:
            raise TritonModelException("Failed to update metric")


class MetricFamily:
    GAUGE, COUNTER, HISTOGRAM = "gauge", "counter", "histogram"
    values: dict[tuple[str, ...], _Metric] = {}  # noqa: RUF012
    broken = False

    def __init__(self, *, name: str, description: str, kind: str) -> None:
        self.name, self.kind = name, kind

    def Metric(self, *, labels: Mapping[str, str], buckets: list[float] | None = None) -> _Metric:
        assert (buckets is not None) == (self.kind == MetricFamily.HISTOGRAM)
        assert buckets is None or buckets == sorted(set(buckets))
        metric = _Metric()
        MetricFamily.values[(self.name, *sorted(labels.values()))] = metric
        return metric


@dataclass
class Sender:
    """Records what is sent; sending or asking anything after the final flag is a failure."""

    responses: list[dict[str, list[Any]]] = field(default_factory=list)
    error: TritonError | None = None
    gone: bool = False
    broken: bool = False
    first: threading.Event = field(default_factory=threading.Event)
    final: threading.Event = field(default_factory=threading.Event)
    misused: list[str] = field(default_factory=list)

    def send(self, response: InferenceResponse, flags: int = 0) -> None:
        if self.final.is_set():
            self.misused.append("sent after the final flag")
        if self.broken and not flags:
            raise TritonModelException("the response sender is broken")
        if response.error is not None:
            self.error = response.error
        else:
            self.responses.append({tensor.name(): _plain(tensor.array) for tensor in response.output_tensors})
        self.first.set()
        if flags == TRITONSERVER_RESPONSE_COMPLETE_FINAL:
            self.final.set()

    def is_cancelled(self) -> bool:
        if self.final.is_set():
            self.misused.append("asked after the final flag")
        return self.gone

    def wait(self) -> Sender:
        assert self.final.wait(10), "no final flag"
        return self


def _plain(array: Any) -> list[Any]:
    if array.dtype == np.object_:
        return [item.decode() for item in array]
    values: list[Any] = array.tolist()
    return values


class Request:
    """Inputs by name: str and bytes become BYTES tensors, bool BOOL, int INT32, float FP32, lists of ints INT32."""

    def __init__(self, *, parameters: Mapping[str, Any] | None = None, id: str = "test", **inputs: Any) -> None:
        self.sender = Sender()
        self._id = id
        self._parameters = json.dumps(parameters) if parameters else ""
        self._inputs = [Tensor(name, tensor(value)) for name, value in inputs.items()]

    def get_response_sender(self) -> Sender:
        return self.sender

    def inputs(self) -> list[Tensor]:
        return self._inputs

    def parameters(self) -> str:
        return self._parameters

    def request_id(self) -> str:
        return self._id


def tensor(value: Any) -> Any:
    items = list(value) if isinstance(value, list | tuple) else [value]
    if isinstance(items[0], str | bytes):
        return np.array([item.encode() if isinstance(item, str) else item for item in items], np.object_)
    dtype = {bool: np.bool_, int: np.int32, float: np.float32}[type(items[0])]
    return np.array(items, dtype)

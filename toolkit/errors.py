"""Every error that trtkit raises on purpose.

    TrtkitError                what went wrong, where, and what to type next
    ├── RecipeError            a recipe file or an override does not fit the schema
    ├── CheckpointError        a checkpoint's files contradict each other or the format
    │   └── NoAnswerError      the Hub could not be asked, or had no answer
    ├── PlanError              no legal way from this checkpoint to this target
    ├── BundleError            an engine bundle is missing, stale or damaged
    ├── EngineError            the runtime cannot start, is closed or failed at one request
    │   ├── EngineDeadError    the runtime has died and serves nothing more
    │   └── RequestError       one request is not acceptable; the engine goes on
    ├── ServerError            Triton cannot be rendered, started or stopped
    ├── DeployError            manifests cannot be rendered, or a container cannot serve what it was given
    ├── ClientError            a gRPC call failed
    │   ├── DeadlineError      a total, first-token or idle deadline passed
    │   ├── UnsupportedError   the served model has no way to take what was asked for
    │   └── UnavailableError   nothing is serving there, or not now
    │       ├── ConnectError   no connection was made, so nothing was sent
    │       ├── StoppingError  the server takes no more requests, but lets those that run end
    │       └── BusyError      the server's queue is full
    ├── BatchError             a batch's input or output file is not what it must be
    ├── ChatError              a conversation, a chat template or a vocabulary is not usable
    ├── RecordError            a benchmark record is missing, damaged or not comparable
    └── MissingExtraError      an optional dependency is not installed

A library function raises; it never prints and never exits. ``toolkit.cli`` turns these into one line
on stderr and an exit code.
"""

from __future__ import annotations


class TrtkitError(Exception):
    """One line for the user: ``what``, ``where`` it is, and the ``hint`` that says what to type next."""

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        self.what = what
        self.where = where
        self.hint = hint
        super().__init__(str(self))

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text.removesuffix('.')}. {self.hint}" if self.hint else text


class RecipeError(TrtkitError):
    """A recipe file or an override does not fit the schema."""


class CheckpointError(TrtkitError):
    """A checkpoint's files contradict each other or the format."""


class NoAnswerError(CheckpointError):
    """The Hub could not be asked, or had no answer; nothing is said about the checkpoint."""


class PlanError(TrtkitError):
    """There is no legal way from this checkpoint to this target."""


class BundleError(TrtkitError):
    """An engine bundle is missing, stale or damaged."""


class EngineError(TrtkitError):
    """The runtime cannot start, is closed or failed at one request."""


class EngineDeadError(EngineError):
    """The runtime has died: it serves nothing more until it is started again."""


class RequestError(EngineError):
    """One request is not acceptable; the engine goes on serving the others."""


class ServerError(TrtkitError):
    """Triton cannot be rendered, started or stopped."""


class DeployError(TrtkitError):
    """Manifests cannot be rendered, or a container cannot serve what it was given."""


class ClientError(TrtkitError):
    """A gRPC call failed."""


class DeadlineError(ClientError):
    """A total, first-token or idle deadline passed."""


class UnsupportedError(ClientError):
    """The served model has no way to take what was asked for; nothing was sent."""


class UnavailableError(ClientError):
    """Nothing is serving at that address, or not now."""


class ConnectError(UnavailableError):
    """No connection was made, so nothing was sent."""


class StoppingError(UnavailableError):
    """The server takes no more requests, but lets those that run end."""


class BusyError(UnavailableError):
    """The server's queue is full; it may take the request later."""


class BatchError(TrtkitError):
    """A batch's input or output file is not what it must be."""


class ChatError(TrtkitError):
    """A conversation, a chat template or Harmony's vocabulary is not usable."""


class RecordError(TrtkitError):
    """A benchmark record is missing, damaged or not comparable."""


class MissingExtraError(TrtkitError):
    """An optional dependency is not installed; names the extra that brings it."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"the Python package {package!r} is not installed", hint=f"Type: pip install 'trtkit[{extra}]'"
        )

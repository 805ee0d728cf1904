"""Start, watch and stop the real Triton on one model repository."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from toolkit.engine.bundle import Bundle
from toolkit.errors import ClientError, ServerError
from toolkit.recipe import Recipe
from toolkit.serving import log, ports, triton
from toolkit.serving.command import command_line
from toolkit.serving.guard import Guard
from toolkit.serving.probe import probe
from toolkit.serving.process import POLL_S, Group
from toolkit.serving.repository import Lease, render_for
from toolkit.serving.scrape import scrape

ATTEMPTS = 3
GRACE_S = 10.0
SHM = Path("/dev/shm")


class Server:
    """A running Triton that has answered a one-token inference; a context manager that stops it."""

    def __init__(
        self,
        group: Group,
        guard: Guard,
        lease: Lease,
        *,
        host: str,
        chosen: Mapping[str, int],
        model_name: str,
        work: Path,
        log_path: Path,
        grace_s: float,
    ) -> None:
        """Use ``Server.start``."""
        reachable = "127.0.0.1" if host == "0.0.0.0" else host
        self.grpc_url = f"{reachable}:{chosen['grpc']}"
        self.http_url = f"http://{reachable}:{chosen['http']}"
        self.metrics_url = f"http://{reachable}:{chosen['metrics']}/metrics"
        self.model_name = model_name
        self.log_path = log_path
        self._group = group
        self._guard = guard
        self._lease = lease
        self._grace_s = grace_s
        self.work = work

    @classmethod
    def start(
        cls,
        repository: Path,
        *,
        host: str = "127.0.0.1",
        grpc_port: int = 0,
        http_port: int = 0,
        metrics_port: int = 0,
        model_name: str = "tensorrt_llm",
        log_path: Path | None = None,
        timeout_s: float = 120.0,
        grace_s: float = GRACE_S,
        options: Sequence[str] = (),
    ) -> Server:
        """Serve ``repository`` and return once a token was generated; port 0 picks a free one.

        ``log_path`` is where Triton's log goes, by default a file that is gone after ``stop``. ``grace_s`` is how long
        ``stop`` lets running streams go on, unless it is told otherwise; ``options`` are further ones of tritonserver.
        Raises ``ServerError`` that names a port in use, what this machine lacks, or the reason in Triton's log; nothing
        is left running then.
        """
        if not (repository / model_name / "config.pbtxt").is_file():
            raise ServerError(
                f"there is no Triton model {model_name!r}", where=str(repository), hint="Type: trtkit repo RECIPE"
            )
        installed, host = triton.find(), ports.resolve(host)
        wanted = {"grpc": grpc_port, "http": http_port, "metrics": metrics_port}
        for attempt in range(1, ATTEMPTS + 1):
            chosen = ports.choose(host, wanted)
            server = cls._launch(installed, repository, host, chosen, model_name, log_path, grace_s, options)
            try:
                server._await_ready(time.monotonic() + timeout_s)
            except PortTaken:
                server.stop(0)
                if attempt == ATTEMPTS:
                    raise
            except BaseException:
                server.stop(0)
                raise
            else:
                return server
        raise AssertionError("unreachable")

    @classmethod
    def _launch(
        cls,
        installed: triton.Triton,
        repository: Path,
        host: str,
        chosen: Mapping[str, int],
        model_name: str,
        log_path: Path | None,
        grace_s: float,
        options: Sequence[str],
    ) -> Server:
        lease = Lease(repository)
        # the folder's random name is also the prefix of the server's shared memory
        work = Path(tempfile.mkdtemp(prefix="trtkit-"))
        log_path = log_path or work / "triton.log"
        group: Group | None = None
        try:
            log_path.unlink(missing_ok=True)
            argv = [*command_line(installed, repository, host, chosen, work, grace_s), *options]
            group = Group(argv, cwd=work, env=installed.environment(os.environ), log=log_path)
            guard = Guard(group.pid, (work, SHM / work.name))
        except BaseException:
            if group is not None:
                group.kill()
            lease.release()
            shutil.rmtree(work, ignore_errors=True)
            raise
        return cls(
            group,
            guard,
            lease,
            host=host,
            chosen=chosen,
            model_name=model_name,
            work=work,
            log_path=log_path,
            grace_s=grace_s,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Pid of tritonserver, and the id of its process group."""
        return self._group.pid

    @property
    def model_pids(self) -> tuple[int, ...]:
        """Pids of the live model processes (Triton's stubs)."""
        return self._group.children()

    def wait(self) -> None:
        """Block while the server serves. Raises ``ServerError`` when it or its model process ends unasked."""
        while True:
            self.check()
            time.sleep(10 * POLL_S)

    def check(self) -> None:
        """Raise ``ServerError`` if the server or its model process has ended unasked."""
        code = self._group.returncode()
        if code is None and self.model_pids:
            return
        what = "Triton's model process died" if code is None else f"Triton {_ended(code)}"
        raise ServerError(": ".join(filter(None, (what, self._reason()))), where=str(self.log_path))

    def stop(self, grace_s: float | None = None) -> None:
        """Let running streams end for at most ``grace_s`` seconds (``start``'s by default), then end everything.

        Requests that come meanwhile are refused. Safe to call twice.

        Leaves no process and no shared memory. A server whose model process is dead cannot stop by itself and is killed
        at once. The limit also cuts short a Triton that will not unload an idle model, which now and then happens.
        """
        grace_s = self._grace_s if grace_s is None else grace_s
        try:
            if self.model_pids and grace_s > 0:
                self._group.terminate(grace_s)
            else:
                self._group.kill()
        finally:
            self._guard.release()
            self._lease.release()
            for region in SHM.glob(f"{self.work.name}*"):
                region.unlink(missing_ok=True)
            shutil.rmtree(self.work, ignore_errors=True)

    def _await_ready(self, deadline: float) -> None:
        # the metrics endpoint comes last: once it answers, none of the ports was taken
        while "nv_" not in scrape(self.metrics_url):
            self._check_alive()
            if time.monotonic() > deadline:
                what = ": ".join(filter(None, ("Triton was not ready in time", self._reason())))
                raise ServerError(what, where=str(self.log_path))
            time.sleep(POLL_S)
        try:
            probe(self.grpc_url, self.model_name, timeout_s=max(1.0, deadline - time.monotonic()))
        except ClientError as error:
            self._check_alive()
            raise ServerError(f"Triton started but cannot generate: {error}", where=str(self.log_path)) from None

    def _check_alive(self) -> None:
        code = self._group.returncode()
        if code is None:
            return
        reason = self._reason()
        if log.PORT_TAKEN.search(reason):
            raise PortTaken(f"another process took a port: {reason}")
        raise ServerError(f"Triton did not start: {reason or _ended(code)}")

    def _reason(self) -> str:
        return log.reason(self.log_path.read_text(errors="replace"))


class PortTaken(ServerError):
    """A port was free when it was chosen and is not any more."""


def serve_bundle(recipe: Recipe, bundle: Bundle, *, timeout_s: float = 600.0, options: Sequence[str] = ()) -> Server:
    """Render the model repository of ``bundle`` and start Triton on it as the recipe's serve section says."""
    serve = recipe.serve
    repository = render_for(recipe, bundle)
    return Server.start(
        repository,
        host=serve.host,
        grpc_port=serve.grpc_port,
        http_port=serve.http_port,
        metrics_port=serve.metrics_port,
        model_name=serve.model_name,
        log_path=repository.with_name(f"{repository.name}.log"),
        timeout_s=timeout_s,
        grace_s=serve.grace_s,
        options=options,
    )


def _ended(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"

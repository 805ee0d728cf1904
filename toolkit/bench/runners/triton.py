"""Online, through our gRPC client: a Triton on the variant's bundle, started here or running elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

from toolkit.bench.load import Client
from toolkit.bench.runners.online import OnlineSession
from toolkit.bench.runners.protocol import Session, Variant
from toolkit.bench.trial import ServedBy
from toolkit.bench.watch import Endpoint, unwatched
from toolkit.engine.bundle import Bundle
from toolkit.errors import RecordError
from toolkit.recipe import Recipe, RunnerKind
from toolkit.serving.client import TritonClient
from toolkit.serving.server import serve_bundle

Connect = Callable[[str, str], AbstractAsyncContextManager[Client]]
Serve = Callable[[Recipe, Bundle], AbstractContextManager[Endpoint]]


@contextmanager
def own_server(recipe: Recipe, bundle: Bundle) -> Iterator[Endpoint]:
    """Triton on ``bundle`` for the length of the block."""
    with serve_bundle(recipe, bundle) as running:
        yield Endpoint(running.grpc_url, running.check)


def connect_triton(url: str, model: str) -> AbstractAsyncContextManager[Client]:
    return TritonClient(url, model=model)


@dataclass(frozen=True, slots=True)
class TritonRunner:
    """Through the server at ``url`` (host:port), which must say that it runs the variant's bundle, or one of its own
    for each variant."""

    url: str | None = None
    serve: Serve = own_server
    connect: Connect = connect_triton
    kind: RunnerKind = "triton"

    @contextmanager
    def open(self, variant: Variant) -> Iterator[Session]:
        own = self.serve(variant.recipe, variant.bundle) if self.url is None else None
        with own or nullcontext(unwatched(self.url or "")) as endpoint:
            through = ServedBy(url=endpoint.url, started_by_bench=own is not None)
            client = self.connect(endpoint.url, variant.recipe.serve.model_name)
            with OnlineSession.open(client, endpoint.check, through, fixed=variant.fixed) as session:
                if own is None:
                    self._check_served(session, variant)
                session.probe()
                yield session

    def _check_served(self, session: OnlineSession, variant: Variant) -> None:
        """The records will say that the variant's bundle was measured."""
        served = session.loop.run(session.client.parameters()).get("identity")
        if served == variant.bundle.manifest["identity"]:
            return
        what = "the server runs another bundle than the recipe's"
        if served is None:
            what = "the server does not say which bundle it runs"
        raise RecordError(what, where=self.url, hint="Type: trtkit serve RECIPE, with the same --set")

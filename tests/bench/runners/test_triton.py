from __future__ import annotations

import pytest

from toolkit.bench.runners import triton
from toolkit.engine.bundle import Bundle
from toolkit.errors import ServerError
from toolkit.recipe import Recipe

DEATH = ServerError("the model process died", where="/log")


def test_the_own_server_is_the_recipes(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []

    class Running:
        grpc_url = "127.0.0.1:3"

        def check(self) -> None:
            raise DEATH

        def __enter__(self) -> Running:
            return self

        def __exit__(self, *error: object) -> None:
            calls.append("stopped")

    def serve_bundle(recipe: Recipe, bundle: Bundle) -> Running:
        calls.append((recipe, bundle))
        return Running()

    monkeypatch.setattr(triton, "serve_bundle", serve_bundle)
    bundle = Bundle.open(recipe.engine.output)
    with triton.own_server(recipe, bundle) as endpoint:
        assert endpoint.url == "127.0.0.1:3"
        with pytest.raises(ServerError, match="the model process died"):
            endpoint.check()
        assert calls == [(recipe, bundle)]
    assert calls[1:] == ["stopped"]

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from toolkit.deploy import run
from toolkit.engine.bundle import Bundle
from toolkit.errors import DeployError
from toolkit.recipe import Recipe


def test_admin_calls_are_closed_by_a_key_that_is_new_each_time() -> None:
    grpc, http = run.closed_admin()
    protocols = "model-repository,shared-memory,trace,logging"
    found = re.fullmatch(rf"--grpc-restricted-protocol={protocols}:trtkit-admin=([0-9a-f]{{32}})", grpc)
    assert found is not None
    assert http == f"--http-restricted-api={protocols}:trtkit-admin={found[1]}"
    assert run.closed_admin() != [grpc, http]


def test_nothing_is_loaded_where_something_is_missing(monkeypatch: pytest.MonkeyPatch, cpu_bundle: Path) -> None:
    def check(recipe: Recipe, bundle: Bundle) -> None:
        raise DeployError("there is no /dev/shm", where="shm")

    def serve_bundle(*args: Any, **options: Any) -> None:
        raise AssertionError("it was loaded")

    monkeypatch.setattr(run, "check", check)
    monkeypatch.setattr(run, "serve_bundle", serve_bundle)
    said: list[str] = []
    with pytest.raises(DeployError, match=r"^shm: there is no /dev/shm$"):
        run.serve(cpu_bundle, timeout_s=1.0, say=said.append)
    assert said == []


def test_it_serves_on_the_containers_ports_from_the_temporary_folder(
    monkeypatch: pytest.MonkeyPatch, cpu_bundle: Path, tmp_path: Path
) -> None:
    asked: list[Recipe] = []

    def serve_bundle(recipe: Recipe, bundle: Bundle, *, timeout_s: float, options: list[str]) -> None:
        asked.append(recipe)
        assert (bundle.folder, timeout_s, len(options)) == (cpu_bundle, 7.0, 2)
        raise KeyboardInterrupt

    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(run, "check", lambda recipe, bundle: None)
    monkeypatch.setattr(run, "serve_bundle", serve_bundle)
    with pytest.raises(KeyboardInterrupt):
        run.serve(cpu_bundle, overrides=["serve.model_name=gpt"], timeout_s=7.0, say=lambda line: None)
    [recipe] = asked
    serve = recipe.serve
    assert (serve.host, serve.http_port, serve.grpc_port, serve.metrics_port) == ("0.0.0.0", 8000, 8001, 8002)
    assert (serve.repository, serve.model_name) == (tmp_path / "trtkit" / "triton_repo", "gpt")

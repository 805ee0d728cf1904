from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from toolkit.errors import ClientError
from toolkit.serving.connection import Retry, Tls, keepalive, metadata


def make_certificate(folder: Path, name: str = "localhost") -> tuple[Path, Path]:
    """A key and a certificate that signs itself, both PEM files."""
    key, certificate = folder / f"{name}.key", folder / f"{name}.pem"
    subject = ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"]
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    files = ["-keyout", str(key), "-out", str(certificate), "-days", "3650"]
    subprocess.run([*command, *subject, *files], check=True, capture_output=True)
    return key, certificate


def test_pauses_double_up_to_the_longest() -> None:
    retry = Retry(attempts=9, first_s=0.5, longest_s=3.0)
    assert [retry.pause_s(failures, 1.0) for failures in (1, 2, 3, 4, 5000)] == [0.5, 1.0, 2.0, 3.0, 3.0]
    assert retry.pause_s(2, 0.25) == 0.25


def test_keepalive() -> None:
    assert keepalive(None) == ()
    assert keepalive(300) == (("grpc.keepalive_time_ms", 300_000), ("grpc.http2.max_pings_without_data", 0))
    for seconds in (299.0, 0.0, float("nan")):
        with pytest.raises(ClientError, match=r"makes servers end silent streams\. Give 300 s or more$"):
            keepalive(seconds)


def test_headers() -> None:
    assert metadata({"Authorization": "Bearer x", "traceparent": "00-a-b-01"}) == (
        ("authorization", "Bearer x"),
        ("traceparent", "00-a-b-01"),
    )


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"a b": "x"}, "'a b' cannot be the name of a header"),
        ({"": "x"}, "'' cannot be the name of a header"),
        ({"grpc-timeout": "1S"}, "'grpc-timeout' cannot be the name of a header"),
        ({"trace-bin": "x"}, "'trace-bin' cannot be the name of a header"),
        ({"a": "x\ny"}, "the value of header 'a' is not printable ASCII"),
        ({"a": "é"}, "the value of header 'a' is not printable ASCII"),
    ],
)
def test_header_that_http_does_not_carry(headers: dict[str, str], said: str) -> None:
    with pytest.raises(ClientError) as caught:
        metadata(headers)
    assert str(caught.value) == said


def test_tls_files(tmp_path: Path) -> None:
    key, certificate = make_certificate(tmp_path)
    other_key, _ = make_certificate(tmp_path, "other")
    text = tmp_path / "text.pem"
    text.write_text("no certificate")
    assert Tls.read(certificate, key, certificate) == Tls(
        certificate.read_bytes(), key.read_bytes(), certificate.read_bytes()
    )
    assert Tls.read() == Tls()
    with pytest.raises(ClientError, match=f"^{text}: holds no TLS certificates$"):
        Tls.read(text)
    with pytest.raises(ClientError, match=f"^{certificate}: is no certificate, or not that of the key"):
        Tls.read(None, other_key, certificate)
    with pytest.raises(ClientError, match="a client key and its certificate go together"):
        Tls.read(key=key)
    with pytest.raises(FileNotFoundError):
        Tls.read(tmp_path / "none.pem")

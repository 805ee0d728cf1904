from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from toolkit.numerics.native import build


def test_the_command() -> None:
    assert build.command(["zig", "cc"], Path("/out/kernels.so"), ["-g"]) == [
        "zig",
        "cc",
        "-std=c11",
        "-O3",
        "-fPIC",
        "-shared",
        "-fvisibility=hidden",
        "-Wall",
        "-Wextra",
        "-g",
        f'-DSOURCE_DIGEST="{build.source_digest()}"',
        "-o",
        "/out/kernels.so",
        str(build.FOLDER / "kernels.c"),
    ]


def test_the_compiler_that_cc_names_may_have_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "zig cc -target 'aarch64-linux-gnu.2.17'")
    assert build.find_compiler() == ["zig", "cc", "-target", "aarch64-linux-gnu.2.17"]


def test_the_first_compiler_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert build.find_compiler() is None
    for name in ("clang", "gcc"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
        assert build.find_compiler() == [str(tmp_path / name)]


def test_it_compiles_without_a_warning(compiled: Path) -> None:
    compiler = build.find_compiler()
    assert compiler is not None
    argv = build.command(compiler, compiled.with_name("again.so"), ["-Werror"])
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (None, "{cc}: No such file or directory"),
        ("echo bad source >&2; exit 3", "ended with status 3:\nbad source\n"),
    ],
)
def test_a_compiler_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, message: str
) -> None:
    compiler, folder = tmp_path / "cc", tmp_path / "out"
    folder.mkdir()
    if script is not None:
        compiler.write_text(f"#!/bin/sh\n{script}\n")
        compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    with pytest.raises(build.BuildError) as caught:
        build.build(folder / "kernels.so")
    assert message.format(cc=compiler) in str(caught.value)
    assert list(folder.iterdir()) == []


def test_no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(build.BuildError, match=r"no C compiler: .*; type: apt-get install gcc$"):
        build.build(tmp_path / "kernels.so")


@pytest.mark.parametrize(("argv", "status"), [([], 1), (["--if-possible"], 0)])
def test_the_command_line_without_a_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], argv: list[str], status: int
) -> None:
    monkeypatch.setenv("CC", str(tmp_path / "absent"))
    monkeypatch.setattr(sys, "argv", ["build", *argv, "--output", str(tmp_path / "kernels.so")])
    assert build.main() == status
    out, err = capsys.readouterr()
    assert (out, err) == (
        "",
        f"kernels not built, the codecs will use NumPy: {tmp_path / 'absent'}: No such file or directory\n",
    )


def test_the_command_line(
    compiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["build", "--output", str(tmp_path / "made.so")])
    assert build.main() == 0
    assert capsys.readouterr().out == f"{tmp_path / 'made.so'}\n"
    assert (tmp_path / "made.so").stat().st_size == compiled.stat().st_size

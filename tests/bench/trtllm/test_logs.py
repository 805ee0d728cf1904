from __future__ import annotations

from pathlib import Path

import pytest

from toolkit.bench.trtllm.logs import BoundedLog, Progress, ProgressReader, is_out_of_memory, read_text, useful_line

BAR = "\rBenchmarking:  50%|█████     | 5/10 [00:01<00:01,  4.99it/s]"


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_progress_wherever_the_stream_is_cut(size: int) -> None:
    stream = (
        f"\rBenchmarking:   0%|          | 0/10 [00:00<?, ?it/s]{BAR}{BAR}{BAR.replace('5/', '6/')}\nx\n"
    ).encode()
    reader = ProgressReader()
    seen = [reader.feed(stream[place : place + size]) for place in range(0, len(stream), size)]
    found = [progress for progress in seen if progress is not None]
    assert found[-1] == reader.last == Progress(6, 10)
    # a piece that holds several counts gives its last one
    assert found == ([Progress(6, 10)] if size == 1000 else [Progress(0, 10), Progress(5, 10), Progress(6, 10)])


@pytest.mark.parametrize("text", ["", "5/10", "Loading: 50%|█████     | 5/10 [00:01]", "Benchmarking: 5/10"])
def test_no_progress(text: str) -> None:
    assert ProgressReader().feed(text.encode()) is None


@pytest.mark.parametrize("size", [1, 9, 64, 5000])
def test_a_log_keeps_its_beginning_and_its_end(tmp_path: Path, size: int) -> None:
    stream = b"".join(b"%07d\n" % number for number in range(500))
    path = tmp_path / "log"
    with BoundedLog(path, 400) as log:
        for place in range(0, len(stream), size):
            log.write(stream[place : place + size])
    assert path.read_bytes() == stream[:200] + b"\n[trtkit: 3600 bytes left out here]\n" + stream[-200:]


@pytest.mark.parametrize("length", [0, 1, 200, 399, 400])
def test_a_log_within_its_limit_is_kept_as_it_is(tmp_path: Path, length: int) -> None:
    with BoundedLog(tmp_path / "log", 400) as log:
        for byte in b"x" * length:
            log.write(bytes([byte]))
    assert (tmp_path / "log").read_bytes() == b"x" * length


def test_the_beginning_is_on_disk_at_once(tmp_path: Path) -> None:
    with BoundedLog(tmp_path / "log", 400) as log:
        log.write(b"evidence")
        assert (tmp_path / "log").read_bytes() == b"evidence"


@pytest.mark.parametrize(
    ("stderr", "stdout", "line"),
    [
        ("", "", None),
        (BAR, "", None),
        (f"{BAR}\n", "=====\nlast words\n-----\n\n", "last words"),
        ("warning: x\n", "[TRT-LLM] [I] loading\n", "warning: x"),
        (
            "Traceback:\nValueError: Requests failed: x (3 requests)\nbye\n",
            "log",
            "ValueError: Requests failed: x (3 requests)",
        ),
        (f"torch.OutOfMemoryError: CUDA out of memory.{BAR}\nbye", "", "torch.OutOfMemoryError: CUDA out of memory."),
        (
            "noise\n",
            "[11/24] [TRT-LLM] [E] worker died\n[11/24] [TRT-LLM] [I] bye\n",
            "[11/24] [TRT-LLM] [E] worker died",
        ),
        ("[rank0]: RuntimeError: NCCL\nbye\n", "", "[rank0]: RuntimeError: NCCL"),
        ("\x1b[31mKeyError: 1\x1b[0m\nbye\x07\n", "", "KeyError: 1"),
        ("x" * 500, "", "x" * 200),
    ],
)
def test_the_useful_line(stderr: str, stdout: str, line: str | None) -> None:
    assert useful_line(stderr, stdout) == line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried", True),
        ("terminate called after throwing an instance of 'std::bad_alloc'", True),
        ("OSError: [Errno 12] Cannot allocate memory", True),
        ("MemoryError", True),
        ("KV cache memory: 12 GiB", False),
        ("CUDA out of memory" + " " * 100_001, False),
    ],
)
def test_out_of_memory(text: str, expected: bool) -> None:
    assert is_out_of_memory("", text) is expected


def test_read_text(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"a\xffb")
    assert read_text(tmp_path / "log") == "a\ufffdb"
    assert read_text(tmp_path / "none") == ""

from __future__ import annotations

import pytest

from toolkit.serving.log import PORT_TAKEN, reason

START = """\
W1124 09:30:08.300470 18787 pinned_memory_manager.cc:273] "Unable to allocate pinned system memory, pool not available"
I1124 09:30:08.300539 18787 cuda_memory_manager.cc:117] "CUDA memory pool disabled"
E1124 09:30:08.300613 18787 server.cc:241] "CudaDriverHelper has not been initialized."
"""
END = """\
I1124 09:30:05.266329 18745 server.cc:336] "All models are stopped, unloading models"
error: creating server: Internal - failed to load all models
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            START + r"""E1124 09:30:05.265763 18745 model_lifecycle.cc:642] "failed to load 'm' version 1: """
            r"""Internal: TritonModelException: /b: there is no engine bundle. Type: trtkit engine RECIPE\n\nAt:\n  """
            r"""/srv/model.py(84): load\n  /repo/1/model.py(21): initialize\n"
""" + END,
            "/b: there is no engine bundle. Type: trtkit engine RECIPE",
        ),
        (
            START + r"""E1124 09:30:07.001691 18767 model_lifecycle.cc:642] "failed to load 'm' version 1: Internal: """
            r"""ModuleNotFoundError: No module named 'toolkit'\n\nAt:\n  /repo/1/model.py(19): initialize\n"
""" + END,
            "ModuleNotFoundError: No module named 'toolkit'",
        ),
        (
            START + """E1124 09:30:08.301418 18787 model_repository_manager.cc:1460] "Poll failed for model """
            """directory 'm': failed to read text proto from /repo/config.pbtxt"
""" + END,
            "Poll failed for model directory 'm': failed to read text proto from /repo/config.pbtxt",
        ),
        ("tritonserver: /lib/libc.so.6: version `GLIBC_2.34' not found\n\n", None),
        ("", ""),
        ('I1124 10:00:00.000001 7 metrics.cc:1] "Started Metrics Service at 127.0.0.1:1"', ""),
    ],
)
def test_reason_is_one_line(text: str, said: str | None) -> None:
    assert reason(text) == (text.strip() if said is None else said)


def test_taken_port_is_recognised() -> None:
    log = (
        START + r"""E1124 09:31:41.418023 19876 main.cc:257] "failed to start HTTP service: Unavailable - """
        """Socket '127.0.0.1:41879' already in use "
"""
    )
    assert reason(log) == "failed to start HTTP service: Unavailable - Socket '127.0.0.1:41879' already in use"
    assert PORT_TAKEN.search(reason(log))
    assert not PORT_TAKEN.search("CudaDriverHelper has not been initialized.")

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chat import o200k
from toolkit.chat.harmony import HarmonyChat


@pytest.fixture(scope="session")
def gpt_oss(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with gpt-oss's tokenizer.json."""
    return o200k.write_tokenizer(tmp_path_factory.mktemp("gpt-oss"))


@pytest.fixture(scope="session")
def harmony(gpt_oss: Path, tmp_path_factory: pytest.TempPathFactory) -> HarmonyChat:
    """openai-harmony itself on the vocabulary of gpt-oss."""
    base = tmp_path_factory.mktemp("vocabulary")
    (base / "o200k_base.tiktoken").write_bytes(o200k.vocabulary())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_ENCODINGS_BASE", str(base))
        return HarmonyChat.open({}, "nowhere")

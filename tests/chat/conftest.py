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
def harmony() -> HarmonyChat:
    return o200k.harmony()

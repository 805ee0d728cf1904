"""Print docs/reliability.md: the fault matrix as the tests declare it, so that the document cannot drift from them."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.faults.matrix import document

if __name__ == "__main__":
    print(document(), end="")

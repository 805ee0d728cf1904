"""Print docker/compose.yaml: the sample on the CPU and gpt-oss-120b on one B200, as profiles."""

from __future__ import annotations

import os
from pathlib import Path

# sizes of the published checkpoint are known without asking the Hub
os.environ["HF_HUB_OFFLINE"] = "1"

from toolkit import recipe
from toolkit.deploy.compose import service, whole
from toolkit.deploy.source import of_plan
from toolkit.deploy.text import to_yaml

ROOT = Path(__file__).parents[1]
PROFILES = {"cpu": "tiny-gpt-oss/cpu", "gpu": "gpt-oss-120b/b200"}
HEAD = (
    "Made by scripts/compose.py from the shipped recipes; `trtkit deploy compose RECIPE` makes one for any other.",
    "  TRTKIT_BUNDLE=$PWD/build/tiny-gpt-oss-cpu docker compose -f docker/compose.yaml --profile cpu up --build",
    "  TRTKIT_BUNDLE=$PWD/build/gpt-oss-120b-b200 docker compose -f docker/compose.yaml --profile gpu up --build",
)


def document() -> str:
    services = {}
    for profile, name in PROFILES.items():
        found = of_plan(recipe.load(ROOT / "recipes" / f"{name}.yaml"))
        made = service(found, Path(".."))
        made["volumes"][0]["source"] = "${TRTKIT_BUNDLE:?the folder that trtkit engine wrote}"
        services[found.name] = {"profiles": [profile], **made}
    return to_yaml([whole("trtkit", services)], HEAD)


if __name__ == "__main__":
    print(document(), end="")

"""Checkpoints on the Hugging Face Hub: what is in the local cache, and fetching what is not."""

from __future__ import annotations

from pathlib import Path

from toolkit.errors import CheckpointError

PATTERNS = ["*.json", "*.safetensors", "*.jinja"]


def cached(repo: str, revision: str | None) -> Path | None:
    """Folder of a complete snapshot in the local cache, or None. Asks no network."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(repo, revision=revision, allow_patterns=PATTERNS, local_files_only=True))
    except LocalEntryNotFoundError:
        return None
    return folder if any(folder.glob("*.safetensors")) else None


def fetch(repo: str, revision: str | None) -> Path:
    """Download (or resume downloading) the snapshot; raises ``CheckpointError`` with the way to do it by hand."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        return Path(snapshot_download(repo, revision=revision, allow_patterns=PATTERNS))
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as error:
        reason = str(error).split("\n", 1)[0]
        raise CheckpointError(
            f"cannot download it: {reason}",
            where=f"hub:{repo}",
            hint=f"Type: hf download {repo} --local-dir DIR, then add --set checkpoint.path=DIR",
        ) from None

"""Checkpoints on the Hugging Face Hub: what is in the local cache, and fetching what is not."""

from __future__ import annotations

from pathlib import Path

from toolkit.checkpoint.source import is_complete
from toolkit.errors import CheckpointError

PATTERNS = ["*.json", "*.safetensors", "*.jinja"]


def cached(repo: str, revision: str | None) -> Path | None:
    """Folder of a snapshot in the local cache that has every shard, or None. Asks no network."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(repo, revision=revision, allow_patterns=PATTERNS, local_files_only=True))
    except LocalEntryNotFoundError:
        return None
    except HFValidationError as error:
        raise _not_a_repository(repo, error) from None
    # after an interrupted download the folder is there without its last shards
    return folder if is_complete(folder) else None


def fetch(repo: str, revision: str | None) -> Path:
    """Download (or resume downloading) the snapshot; raises ``CheckpointError`` with the way to do it by hand."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return Path(snapshot_download(repo, revision=revision, allow_patterns=PATTERNS))
    except HFValidationError as error:
        raise _not_a_repository(repo, error) from None
    except (HfHubHTTPError, OSError) as error:  # OSError also: offline, and not in the cache
        raise CheckpointError(
            f"cannot download it: {_first_line(error)}",
            where=f"hub:{repo}",
            hint=f"Type: hf download {repo} --local-dir DIR, then add --set checkpoint.path=DIR",
        ) from None


def _not_a_repository(repo: str, error: Exception) -> CheckpointError:
    hint = "Set checkpoint.repo to owner/name"
    return CheckpointError(f"not a Hub repository: {_first_line(error)}", where=f"hub:{repo}", hint=hint)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]

"""Checkpoints on the Hugging Face Hub: what is there, what is in the local cache, and fetching what is not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from toolkit.checkpoint.hub_errors import by_hand, endpoint, refused, shown, unreachable
from toolkit.checkpoint.source import is_complete, reading
from toolkit.checkpoint.strict_json import NotAnObjectError, parse_object
from toolkit.checkpoint.transport import Repository
from toolkit.errors import CheckpointError

PATTERNS = ["*.json", "*.safetensors", "*.jinja"]
IGNORED = ["*/*"]  # repositories such as openai/gpt-oss-120b hold the weights in other formats in folders beside
_COMMIT = 40
_MAX_LISTING = 16 << 20  # a file takes about 400 bytes of it
# what huggingface_hub raises for an answer that is not JSON, nested too deep, or not what a Hub says
_NO_ANSWERS_OF_A_HUB = (ValueError, TypeError, KeyError, AttributeError, RecursionError)


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of a repository at one commit, name → bytes."""

    repo: str
    commit: str
    files: Mapping[str, int]


def name_of(repo: str, revision: str | None = None) -> str:
    """How errors and reports name a checkpoint on the Hub."""
    return f"hub:{repo}@{revision}" if revision else f"hub:{repo}"


def listing(repo: str, revision: str | None) -> Listing:
    """Ask the Hub for a repository's files and their sizes: one call, no file. Raises ``CheckpointError``.

    The call is that of ``HfApi.model_info``, which would take an answer of any size.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    where = name_of(repo, revision)
    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise _not_a_repository(repo, error) from None
    at = f"/revision/{quote(revision, safe='')}" if revision else ""
    url = f"{endpoint(where)}/api/models/{repo}{at}?blobs=true"
    data = Repository(repo, revision, where).description(url, _MAX_LISTING)
    try:
        described = parse_object(data)
        commit = described["sha"]
        files = {sibling["rfilename"]: sibling["size"] for sibling in described["siblings"]}
    except (NotAnObjectError, TypeError, KeyError):
        raise _no_hub(where) from None
    if not isinstance(commit, str) or len(commit) != _COMMIT or not all(_is_file(*entry) for entry in files.items()):
        raise _no_hub(where)
    return Listing(repo, commit, files)


def missing(there: Listing) -> tuple[dict[str, int], int]:
    """What ``fetch`` would download of a listing, name → bytes, and the bytes that are in the local cache already."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.utils import filter_repo_objects

    absent: dict[str, int] = {}
    here = 0
    for name in filter_repo_objects(there.files, allow_patterns=PATTERNS, ignore_patterns=IGNORED):
        size = there.files[name]
        path = try_to_load_from_cache(there.repo, name, revision=there.commit)
        if isinstance(path, str) and Path(path).is_file() and Path(path).stat().st_size == size:
            here += size
        else:
            absent[name] = size
    return absent, here


def cached(repo: str, revision: str | None) -> Path | None:
    """Folder of a snapshot in the local cache that has every shard, or None. Asks no network."""
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    patterns = {"allow_patterns": PATTERNS, "ignore_patterns": IGNORED}
    with reading(Path(constants.HF_HUB_CACHE)):
        try:
            folder = Path(snapshot_download(repo, revision=revision, local_files_only=True, **patterns))
        except LocalEntryNotFoundError:
            return None
        except HFValidationError as error:
            raise _not_a_repository(repo, error) from None
    # after an interrupted download the folder is there without its last shards
    return folder if is_complete(folder) else None


def fetch(repo: str, revision: str | None) -> Path:
    """Download (or resume downloading) the snapshot; raises ``CheckpointError`` with what to type next."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    where = name_of(repo, revision)
    endpoint(where)
    try:
        return Path(snapshot_download(repo, revision=revision, allow_patterns=PATTERNS, ignore_patterns=IGNORED))
    except HFValidationError as error:
        raise _not_a_repository(repo, error) from None
    except LocalEntryNotFoundError as error:  # not in the cache, and the Hub did not answer: the cause says why
        cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
        raise _refused(repo, revision, cause) from None
    except HfHubHTTPError as error:  # before 1.0 the one above is one of these
        raise _refused(repo, revision, error) from None
    except _NO_ANSWERS_OF_A_HUB:
        raise _no_hub(where) from None
    except HfHubHTTPError.__bases__[0] as error:
        raise unreachable(repo, error, where=where, revision=revision) from None
    except OSError as error:
        if error.errno is None:  # requests' errors are OSErrors
            raise unreachable(repo, error, where=where, revision=revision) from None
        what = f"cannot be downloaded: {error.strerror or _first_line(error)}"
        raise CheckpointError(what, where=where, hint=by_hand(repo, revision)) from None


def _refused(repo: str, revision: str | None, error: Exception) -> CheckpointError:
    response = getattr(error, "response", None)
    where = name_of(repo, revision)
    if response is None:
        return unreachable(repo, error, where=where, revision=revision)
    return refused(repo, response.status_code, response.headers, where=where, revision=revision)


def _is_file(name: object, size: object) -> bool:
    return isinstance(name, str) and isinstance(size, int) and size >= 0


def _no_hub(where: str) -> CheckpointError:
    what = f"the answer of {shown(endpoint(where))} is not the Hub's description of a repository and its files"
    return CheckpointError(what, where=where, hint="Check HF_ENDPOINT and the proxy")


def _not_a_repository(repo: str, error: Exception) -> CheckpointError:
    hint = "Name it as owner/name"
    return CheckpointError(f"not a Hub repository: {_first_line(error)}", where=f"hub:{repo}", hint=hint)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]

"""Sends an export to a data set repository of the Hugging Face Hub, in one commit.

    DIR (rows, README.md, manifest.json) ─► create_repo ─► upload_folder ─► the commit's address

The Hub's address and the token are huggingface_hub's own: HF_ENDPOINT, HF_TOKEN or `hf auth login`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from berry.pipeline.errors import InputError, ResourceError
from berry.pipeline.stages.export.card import SPLITS

_OF_EXPORTS = [f"{split}.{kind}" for split in SPLITS for kind in ("parquet", "jsonl")]
"""What an earlier export may have left in the repository; nothing else of it is removed."""


def check_repository(repository: str) -> None:
    """Raises InputError for what can't be a repository's name, ResourceError where huggingface_hub is missing."""
    _hub()
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise InputError(f"--push {repository}: {str(error).splitlines()[0]}; give OWNER/NAME") from error


def push(folder: str | Path, repository: str, *, private: bool = False, message: str = "Add a Berry export") -> str:
    """Uploads all files of an export and removes rows of an earlier one; returns the commit's address. Raises
    InputError where the Hub refuses, ResourceError where it does not answer."""
    hub = _hub()
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    remedy = f"the files are in {folder}; push them later with --push, or `hf upload {repository} {folder}`"
    try:
        api = hub.HfApi()
        api.create_repo(repository, repo_type="dataset", private=private, exist_ok=True)
        commit = api.upload_folder(
            folder_path=str(folder),
            repo_id=repository,
            repo_type="dataset",
            commit_message=message,
            delete_patterns=_OF_EXPORTS,
        )
    except HfHubHTTPError as error:
        status = error.response.status_code
        how = "log in with `hf auth login`, or set HF_TOKEN, " if status in (401, 403) else ""
        raise InputError(
            f"--push {repository}: the Hub refused with status {status} ({_first_line(error)}); {how}{remedy}"
        ) from error
    except (OfflineModeIsEnabled, _transport_error(HfHubHTTPError), ConnectionError) as error:
        why = _first_line(error)
        raise ResourceError(f"--push {repository}: the Hub can't be reached ({why}); {remedy}") from error
    return commit.commit_url


def _transport_error(of_hub: type[Exception]) -> type[Exception]:
    """What the Hub's client raises where nothing answers: the base of its own errors, in its HTTP package."""
    return next((base for base in of_hub.__mro__ if base.__name__ == "HTTPError"), of_hub)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _hub() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise ResourceError("--push needs huggingface_hub: pip install 'berry-pipeline[hub]'") from error
    return huggingface_hub

"""Bring a model from the Hugging Face hub into its own cache, and say in one sentence why it does not come.

Every refusal that a user may meet is told here and nowhere else. huggingface_hub's exceptions have no common root, and
its own sentences are several lines long, so an exception counts by its class, then by the hub's status.
"""

from __future__ import annotations

import functools
import logging
import sys
from pathlib import Path

from conch_tools.errors import BuildError, first_line, with_cure
from conch_tools.pipelines import Source

TAKEN = ["*.json", "*.safetensors", "*.txt", "*.model"]
"""Files that are brought: pickled weights are not, because loading them runs what somebody put into them."""
UNKNOWN_TOKEN = "Invalid credentials in Authorization header"
"""The hub's words."""
ANSWER_LIMIT_S = 10.0
"""What the hub may take to go on with an answer, as huggingface_hub gives it for files."""
LOG_IN = "log in by `hf auth login`, or set HF_TOKEN"


def hub_folder(pipeline: str, hub_id: str, revision: str | None) -> Path:
    """The folder in the hub's cache with a model's files. Raises BuildError with the reason and the cure."""
    try:
        return _downloaded(hub_id, revision)
    except Exception as problem:
        raise BuildError(pipeline, _in_a_sentence(hub_id, revision, problem)) from problem


def bring(pipeline: str, source: Source) -> None:
    """Bring what comes from the hub before anything else takes time, and in the process of the command: it shows on a
    terminal how far it is. Raises BuildError."""
    if source.hub is not None:
        hub_folder(pipeline, source.hub, source.revision)


@functools.cache
def _downloaded(hub_id: str, revision: str | None) -> Path:
    """Asked once in a process, so that whoever reads a model reads one and the same commit."""
    from huggingface_hub import HfApi, get_session, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError
    from huggingface_hub.utils.tqdm import disable_progress_bars

    # It tells of every try; what came of them is said once.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    if not sys.stderr.isatty():
        disable_progress_bars()
    # Without these limits it waits for a silent hub for ever.
    get_session().timeout = ANSWER_LIMIT_S
    try:
        HfApi().model_info(hub_id, revision=revision, timeout=ANSWER_LIMIT_S)
    except Exception as refused:
        try:
            return Path(snapshot_download(hub_id, revision=revision, allow_patterns=TAKEN, local_files_only=True))
        except LocalEntryNotFoundError:
            raise refused from None
    return Path(snapshot_download(hub_id, revision=revision, allow_patterns=TAKEN))


def _in_a_sentence(hub_id: str, revision: str | None, problem: Exception) -> str:
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        DisabledRepoError,
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    hub = constants.ENDPOINT
    if isinstance(problem, HFValidationError):
        return f"{hub_id!r} is not a hub id (owner/name)"
    if constants.HF_HUB_OFFLINE:
        return f"HF_HUB_OFFLINE is set and {hub_id} is not in the hub's cache: unset it, or use folder = ..."
    if isinstance(problem, LocalEntryNotFoundError) and isinstance(problem.__cause__, Exception):
        # Neither the hub nor its cache has it; why the hub had not is what helps.
        problem = problem.__cause__
    if isinstance(problem, GatedRepoError):
        return f"{hub_id} is gated: ask for access at {hub}/{hub_id}, then {LOG_IN} to a token of that account"
    if isinstance(problem, RevisionNotFoundError):
        return f"{hub_id} has no revision {revision}: name a branch, a tag or a commit that {hub}/{hub_id} shows"
    if isinstance(problem, DisabledRepoError):
        return f"the hub has disabled {hub_id}: see {hub}/{hub_id} for why, or use another model"
    if isinstance(problem, RepositoryNotFoundError):
        return _nothing_for_you(hub_id)
    if isinstance(problem, HfHubHTTPError):
        if problem.response.headers.get("X-Error-Message") == UNKNOWN_TOKEN:
            return f"the hub does not know your token: {LOG_IN} to one that is valid"
        return _refused(hub_id, problem.response.status_code, first_line(problem))
    return _unreachable(hub, hub_id, problem)


def _nothing_for_you(hub_id: str) -> str:
    return f"the hub has no model {hub_id} for you: correct the id, or where it is private, {LOG_IN}"


def _refused(hub_id: str, status: int, said: str) -> str:
    if status == 401:
        # The hub's answer to nobody in particular who asks for what is not there.
        return _nothing_for_you(hub_id)
    if status == 403:
        return f"your token may not read {hub_id}: {LOG_IN} to one that may"
    if status == 429:
        return f"the hub takes no more requests for now (HTTP 429): wait some minutes, or {LOG_IN}, who may ask more"
    if status >= 500:
        return f"the hub is out of order (HTTP {status}): try again later, or use folder = ..."
    return f"the hub refused {hub_id} (HTTP {status}): {said}"


def _unreachable(hub: str, hub_id: str, problem: Exception) -> str:
    # The classes of the HTTP library are known by their names: it is huggingface_hub's own choice.
    kind = type(problem).__name__
    if isinstance(problem, OSError) and problem.errno is not None:
        return f"{hub_id} cannot be brought from the hub: {with_cure(problem)}"
    if "Timeout" in kind or "timed out" in str(problem):
        return f"the hub at {hub} does not answer in time: try again later, or use folder = ..."
    if kind in ("ConnectError", "ProxyError"):
        return f"the hub at {hub} cannot be reached and {hub_id} is not in its cache: connect, or use folder = ..."
    if kind == "RemoteProtocolError" or "Consistency check failed" in str(problem):
        return f"the download of {hub_id} broke off: run the command again, it goes on where it ended"
    return f"the hub at {hub} does not give {hub_id}: {first_line(problem)}"

"""Errors of the Hugging Face Hub as one-line messages that name the param and the fix."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

LOGIN = "log in with `hf auth login` or set HF_TOKEN"
_FULL = {errno.ENOSPC, errno.EDQUOT}
_CONNECTION = {"ConnectionError", "TimeoutError", "TransportError", "LocalEntryNotFoundError"}
_FOLDERS = {"model": "", "data set": "datasets/"}  # of addresses on the Hub
_OPTIONS = {"model": "", "data set": " --repo-type dataset"}  # of `hf download`


@contextmanager
def naming_param(param: str, location: str, revision: str, *, repo_type: str) -> Iterator[None]:
    """Turn errors of a block that downloads from the Hub into errors of params.yaml.

    Args:
        param: Dotted path of the section with `location` and `revision`.
        location: The repository; not a local folder.
        revision: Commit, tag or branch.
        repo_type: "model" or "data set".

    Raises:
        ValueError: If the Hub can't be reached, refuses, fails, or has no such repository or
            revision.
        OSError: If the disk is full.
    """
    try:
        yield
    except Exception as error:  # each HTTP library raises its own types
        if is_full_disk(error):
            raise
        text = explain(error, param, location, revision, repo_type=repo_type)
        raise ValueError(text) from None


def explain(error: Exception, param: str, location: str, revision: str, *, repo_type: str) -> str:
    """Return the message of `naming_param` for an error."""
    from huggingface_hub import errors

    def is_any(kind: type[Exception]) -> bool:
        return any(isinstance(each, kind) for each in _chain(error))

    key, name = f"{param}.location", repr(location)
    page = f"https://huggingface.co/{_FOLDERS[repo_type]}{location}"
    at = "" if revision == "main" else f" --revision {revision}"
    command = f"hf download {location}{_OPTIONS[repo_type]}{at} --local-dir FOLDER"
    local = f"download it elsewhere and set {key} to that folder: `{command}`"
    if is_any(errors.HFValidationError):
        return f"{key}: no folder {name}, and it is not a Hub id either; correct the path"
    if is_any(errors.RevisionNotFoundError):
        return (
            f"{param}.revision: {name} has no revision {revision!r}; choose another, such as main"
        )
    if is_any(errors.GatedRepoError):
        return f"{key}: access to {name} is gated; request it at {page}, then {LOGIN}, or {local}"
    if is_any(errors.RepositoryNotFoundError):
        problem = f"no folder {name}, and no such {repo_type} on the Hub, or a private one"
        return f"{key}: {problem}; correct it, {LOGIN}, or give a folder"
    return f"{key}: {_problem(error, name)}; {_remedy(error)}, or {local}"


def is_of_hub(error: BaseException) -> bool:
    """Return whether an error is an answer of the Hub, or due to a failed connection."""
    return status_of(error) is not None or is_unreachable(error)


def is_full_disk(error: BaseException) -> bool:
    """Return whether an error, or one that caused it, is that of a full disk or quota."""
    return any(getattr(each, "errno", None) in _FULL for each in _chain(error))


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status of the Hub's answer; None if an error is not due to an answer."""
    for each in _chain(error):
        status = getattr(getattr(each, "response", None), "status_code", None)
        if isinstance(status, int):
            return status
    return None


def is_unreachable(error: BaseException) -> bool:
    """Return whether an error is that of a connection, or of offline mode."""
    # By name, since the HTTP libraries of different versions have such types of their own.
    names = (kind.__name__ for each in _chain(error) for kind in type(each).__mro__)
    return any(name in _CONNECTION for name in names)


def reason_of(error: BaseException) -> str:
    """Return the message of the Hub's answer, or that of the error, in one line."""
    answers = (getattr(each, "server_message", None) for each in _chain(error))
    message = next(filter(None, answers), None) or str(error) or type(error).__name__
    return " ".join(str(message).split())


def _problem(error: Exception, name: str) -> str:
    status = status_of(error)
    if status in (401, 403):
        return f"the Hub refuses access to {name} ({reason_of(error)})"
    if status is not None:
        return f"the Hub answers {status} for {name} ({reason_of(error)})"
    if is_unreachable(error):
        return f"could not reach the Hub for {name}, and there is no such folder"
    return f"{name} can't be downloaded ({type(error).__name__}: {reason_of(error)})"


def _remedy(error: Exception) -> str:
    from huggingface_hub import constants

    status = status_of(error)
    if status in (401, 403):
        return LOGIN
    if status is None and is_unreachable(error):
        return "unset HF_HUB_OFFLINE" if constants.HF_HUB_OFFLINE else "go online"
    return "try again later"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those that caused it."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__

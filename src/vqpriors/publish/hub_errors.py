"""Errors of the Hugging Face Hub as one-line messages that name the param and the fix."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

_FULL = {errno.ENOSPC, errno.EDQUOT}


@contextmanager
def naming_param(param: str, location: str, revision: str, *, repo_type: str) -> Iterator[None]:
    """Turn errors of a block that downloads from the Hub into errors of params.yaml.

    Args:
        param: Dotted path of the section with `location` and `revision`.
        location: The repository; not a local folder.
        revision: Commit, tag or branch.
        repo_type: "model" or "data set".

    Raises:
        ValueError: If the Hub can't be reached or has no such repository or revision.
        OSError: If the disk is full.
    """
    from huggingface_hub import errors

    key, name = f"{param}.location", repr(location)
    local = f"go online, or download it elsewhere and set {key} to that folder"
    try:
        yield
        return
    except errors.HFValidationError:
        problem = f"no folder {name}, and it is not a Hub id either; correct the path"
    except errors.RevisionNotFoundError:
        key, problem = f"{param}.revision", f"{name} has no revision {revision!r}"
    except errors.RepositoryNotFoundError:
        problem = f"no folder {name}, and no such {repo_type} on the Hub; correct it, or {local}"
    except Exception as error:  # each HTTP library raises its own types
        if getattr(error, "errno", None) in _FULL:
            raise
        problem = f"could not reach the Hub for {name}, and there is no such folder; {local}"
    raise ValueError(f"{key}: {problem}")

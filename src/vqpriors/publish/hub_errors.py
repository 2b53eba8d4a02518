"""What goes wrong between here and the hub, as one line that names the param and the fix."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

_FULL = {errno.ENOSPC, errno.EDQUOT}


@contextmanager
def naming_param(param: str, location: str, revision: str, *, kind: str) -> Iterator[None]:
    """Turn errors of a block that asks the hub into those of params.yaml.

    Args:
        param: Dotted path of the section that has `location` and `revision`.
        location: What is no local folder.
        revision: Commit, tag or branch that is asked for.
        kind: What is looked for, such as "model".

    Raises:
        ValueError: If the hub can't be reached or lacks it.
        OSError: If the disk is full.
    """
    from huggingface_hub import errors

    key, name = f"{param}.location", repr(location)
    local = f"go online, or download it once elsewhere and set {key} to that folder"
    try:
        yield
        return
    except errors.HFValidationError:
        problem = f"no folder {name}, and it is no hub id either; correct its path"
    except errors.RevisionNotFoundError:
        key, problem = f"{param}.revision", f"{name} has none {revision!r}; correct it"
    except errors.RepositoryNotFoundError:
        problem = f"no folder {name}, and no such {kind} on the hub; correct it, or {local}"
    except Exception as error:  # the network fails in as many ways as there are client libraries
        if getattr(error, "errno", None) in _FULL:
            raise
        problem = f"could not reach the hub for {name}, and no such folder is here; {local}"
    raise ValueError(f"{key}: {problem}")

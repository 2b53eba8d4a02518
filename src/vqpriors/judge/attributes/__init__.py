"""A classifier of attributes, such as digit and colour."""

from vqpriors.judge.attributes.model import (
    IS_AUTOMATIC,
    Config,
    build,
    can_judge,
    restore,
    targets,
)

__all__ = ["IS_AUTOMATIC", "Config", "build", "can_judge", "restore", "targets"]

"""The version of the installed package."""

from importlib.metadata import PackageNotFoundError, version


def package_version() -> str:
    """Return the version; "unknown" if the package is run from a checkout without installation."""
    try:
        return version("vqpriors")
    except PackageNotFoundError:
        return "unknown"

"""Folders of picture files: with metadata, with caption files, a folder per class, or plain."""

from vqpriors.sources.imagefolder.folder import Config, build

__all__ = ["Config", "build"]

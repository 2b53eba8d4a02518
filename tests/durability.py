"""A record of what is flushed to disk and renamed, for tests of what survives a power cut."""

import os
from pathlib import Path

from vqpriors.core import artifact


def record_flushes_and_renames(monkeypatch):
    """Return the list to which each event is added: ("flush", path) or ("rename", path)."""
    found = []
    fsync, replace, rename, exchange = os.fsync, os.replace, os.rename, artifact._exchange

    def flushed(handle):
        found.append(("flush", str(Path(f"/proc/self/fd/{handle}").readlink())))
        fsync(handle)

    def renamed(real):
        def call(source, target):
            found.append(("rename", str(source)))
            return real(source, target)

        return call

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(os, "replace", renamed(replace))
    monkeypatch.setattr(os, "rename", renamed(rename))
    monkeypatch.setattr(artifact, "_exchange", renamed(exchange))
    return found

"""What a tracker without a server has logged before an interruption."""

import json
from pathlib import Path


class Logged:
    """Counts points and images of a run in a file, so that a resumed run repeats none.

    A resumed run logs its points again, from the first one on.

    Attributes:
        run_id: The id of the run.
    """

    def __init__(self, path: Path, *, run_id: str):
        """Read the file, or write a new one.

        Args:
            path: The file, in the folder of the run.
            run_id: The id of a new run.
        """
        self._path, self._count = path, 0
        if not path.is_file():
            path.write_text(json.dumps({"id": run_id, "points": 0}))
        self._state = json.loads(path.read_text())
        self.run_id: str = self._state["id"]

    def is_new_point(self) -> bool:
        """Count a point; return whether it was not logged before."""
        self._count += 1
        return self._count > self._state["points"]

    def is_new_image(self, step: int, name: str) -> bool:
        """Return whether neither this image nor a later one of its name was logged before."""
        return step > self._state.get("images", {}).get(name, -1)

    def add_point(self) -> None:
        """Write down that the last counted point is logged."""
        self._state["points"] = self._count
        self._write()

    def add_image(self, step: int, name: str) -> None:
        """Write down that an image is logged."""
        self._state.setdefault("images", {})[name] = step
        self._write()

    def _write(self) -> None:
        self._path.write_text(json.dumps(self._state))

"""The stages of dvc.yaml, one small script each.

Puts this checkout's `src` first on the path: in the temporary copy of a queued experiment an
installed package would otherwise silently import the original checkout's code.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

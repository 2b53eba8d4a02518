"""Pictures as they come about, as an animation that every browser shows."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from vqpriors.core.artifact import new_file

FRAME, LAST = 120, 2000  # milliseconds


def save_gif(frames: Sequence[Image.Image], path: Path) -> None:
    """Write an animation without end, which rests on its last frame.

    Args:
        frames: At least one, all of a size.
        path: The file to make or replace, whole or not at all.
    """
    # One palette for all, of the first and the last, or colours would flicker.
    ends = Image.new("RGB", (2 * frames[0].width, frames[0].height))
    ends.paste(frames[0], (0, 0))
    ends.paste(frames[-1], (frames[0].width, 0))
    palette = ends.quantize(256)
    drawn = [frame.convert("RGB").quantize(palette=palette) for frame in frames]
    times = [FRAME] * (len(drawn) - 1) + [LAST]
    with new_file(path) as file:
        drawn[0].save(
            file, format="GIF", save_all=True, append_images=drawn[1:], duration=times, loop=0
        )

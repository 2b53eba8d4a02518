"""GIF animations of pictures during sampling."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from vqpriors.core.artifact import new_file

MAX_EDGE = 65_535  # pixels, of the format
FRAME_TIME, LAST_FRAME_TIME = 120, 2000  # milliseconds


def require_gif_size(width: int, height: int) -> None:
    """Raise a ValueError if a GIF can't be so large."""
    if max(width, height) > MAX_EDGE:
        raise ValueError(
            f"--animate: a GIF has at most {MAX_EDGE:,} pixels along an edge, the sheet has "
            f"{max(width, height):,}; draw fewer pictures for each prompt"
        )


def save_gif(frames: Sequence[Image.Image], path: Path) -> None:
    """Write a GIF that loops endlessly and pauses on its last frame.

    Args:
        frames: At least one picture, all of the same size.
        path: The file to write; it is replaced only after the new file is complete.

    Raises:
        ValueError: If they are larger than the format allows.
    """
    require_gif_size(*frames[0].size)
    # One palette for all frames, from the first and the last, so that colours do not flicker.
    ends = Image.new("RGB", (2 * frames[0].width, frames[0].height))
    ends.paste(frames[0], (0, 0))
    ends.paste(frames[-1], (frames[0].width, 0))
    palette = ends.quantize(256)
    quantized = [frame.convert("RGB").quantize(palette=palette) for frame in frames]
    times = [FRAME_TIME] * (len(quantized) - 1) + [LAST_FRAME_TIME]
    with new_file(path) as file:
        quantized[0].save(
            file, format="GIF", save_all=True, append_images=quantized[1:], duration=times, loop=0
        )

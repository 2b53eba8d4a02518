"""`python -m vqpriors`: pictures from prompts, captions for pictures, and what draws them."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vqpriors.inference.limits import EXAMPLE_PROMPT, MAX_PIXELS

if TYPE_CHECKING:
    from PIL import Image


def main(arguments: list[str] | None = None) -> None:
    """Do what the command line asks; end with one line and exit code 1 where that can't be."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        options.run(options)
    except (ValueError, OSError) as error:
        if options.debug:
            raise
        reason: object = error
        if isinstance(error, OSError) and error.filename:
            reason = f"{error.filename}: {error.strerror}"
        sys.exit(f"error: {options.command}: {' '.join(str(reason).split())}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m vqpriors", description=__doc__)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(dest="command", required=True)
    draw = commands.add_parser("generate", help="draw pictures from prompts")
    draw.set_defaults(run=_generate)
    draw.add_argument(
        "--prompt", action="append", default=[], help=f'such as "{EXAMPLE_PROMPT}"; repeat'
    )
    draw.add_argument("--prompts", type=Path, help="a file with a prompt a line")
    draw.add_argument("--num-samples", type=int, default=1, help="pictures of each")
    draw.add_argument("--inpaint", type=Path, nargs=2, metavar=("PICTURE", "MASK"))
    draw.add_argument("--vary", type=Path, metavar="PICTURE")
    draw.add_argument("--steps", type=int, help="passes of a masked prior; as in params.yaml")
    draw.add_argument("--temperature", type=float, help="as in params.yaml")
    draw.add_argument("--guidance", type=float, help="as in params.yaml; 1 is none")
    draw.add_argument("--seed", type=int, default=0)
    draw.add_argument("--animate", action="store_true", help="also show codes as they are written")
    draw.add_argument("--out", type=Path, default=Path("samples"), help="folder for the pictures")
    caption = commands.add_parser("caption", help="write captions for pictures")
    caption.set_defaults(run=_caption)
    caption.add_argument("pictures", type=Path, nargs="+")
    caption.add_argument("--seed", type=int, default=0)
    push = commands.add_parser("push", help="put trained parts on the Hugging Face hub")
    push.set_defaults(run=_push)
    push.add_argument("repository", help="owner/name; made, private, if it is not there")
    push.add_argument("--public", action="store_true", help="if it is made, for all to see")
    demo = commands.add_parser("demo", help="show a page that draws, on this machine alone")
    demo.set_defaults(run=_demo)
    demo.add_argument("--port", type=int, help="the first free one from 7860")
    demo.add_argument(
        "--from",
        dest="folders",
        action="append",
        metavar="FOLDER",
        help="folder of trained parts or hub id, data; repeat to choose between them on the page",
    )
    for command in (draw, caption, push):
        command.add_argument(
            "--from",
            dest="source",
            default="data",
            help="folder of trained parts, or hub id; data",
        )
        command.add_argument(
            "--rev", help="take the parts of another commit or experiment, or of a hub revision"
        )
    return parser


def _generate(options: argparse.Namespace) -> None:
    prompts = [*options.prompt, *_lines(options.prompts)]
    if options.inpaint and options.vary:
        raise ValueError("--vary: not together with --inpaint; leave one of them out")
    redrawn = options.inpaint or ([options.vary] if options.vary else [])
    if not prompts and not redrawn:
        raise ValueError(
            f'--prompt: nothing to draw; say what, such as --prompt "{EXAMPLE_PROMPT}"'
        )
    if redrawn and len(prompts) > 1:
        raise ValueError("--prompt: at most one to redraw a picture by; leave out the others")
    given = [_open(path) for path in redrawn]

    from vqpriors.inference.generator import (
        Generator,  # after what can be refused at once: torch is slow
    )

    generator = Generator.load(options.source, options.rev)
    how = {name: getattr(options, name) for name in ("steps", "temperature", "guidance", "seed")}
    frames: list[list[Image.Image]] = []
    how |= {"num_samples": options.num_samples, "look": frames.append if options.animate else None}
    if options.animate:
        generator.require_one_batch(max(1, len(prompts)) * options.num_samples, "--animate")
    if options.inpaint:
        pictures = generator.inpaint(given[0], given[1], "".join(prompts), **how)
    elif options.vary:
        pictures = generator.vary(given[0], "".join(prompts), **how)
    else:
        pictures = generator(prompts, **how)
    _write(options.out, pictures, frames, prompts or [""])


def _write(
    folder: Path,
    drawn: list["Image.Image"],
    frames: list[list["Image.Image"]],
    prompts: list[str],
) -> None:
    from vqpriors.figures.sheets import save_png

    each = len(drawn) // len(prompts)
    for number, picture in enumerate(drawn):
        save_png(picture, folder / f"{number // each:03d}-{number % each:03d}.png")
    save_png(_sheet(drawn, prompts), folder / "sheet.png")
    if frames:
        from vqpriors.figures.animation import save_gif

        save_gif([_sheet(frame, prompts) for frame in frames], folder / "sheet.gif")
    count = f"{len(drawn):,} picture{'s' * (len(drawn) > 1)}"
    print(f"{count} and sheet.png{' and sheet.gif' if frames else ''} in {folder}")


def _sheet(pictures: list["Image.Image"], prompts: list[str]) -> "Image.Image":
    import numpy as np

    from vqpriors.figures.sheets import captioned_sheet

    pixels = [np.atleast_3d(np.asarray(picture)).transpose(2, 0, 1) for picture in pictures]
    rows = np.stack(pixels).reshape(len(prompts), -1, *pixels[0].shape)
    return captioned_sheet(rows, prompts)


def _caption(options: argparse.Namespace) -> None:
    given = [_open(path) for path in options.pictures]

    from vqpriors.inference.generator import Generator

    captions = Generator.load(options.source, options.rev).caption(given, seed=options.seed)
    for path, caption in zip(options.pictures, captions, strict=True):
        print(f"{path}: {caption}")


def _push(options: argparse.Namespace) -> None:
    from vqpriors.publish.hub import require_id

    require_id(options.repository)
    from vqpriors.inference.generator import Generator

    generator = Generator.load(options.source, options.rev)
    print(generator.push(options.repository, private=not options.public))


def _demo(options: argparse.Namespace) -> None:
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before the import, which may read it
    try:
        from vqpriors.demo import serve
    except ModuleNotFoundError as error:
        if error.name != "gradio":
            raise
        raise ValueError("gradio: not there; bring it with `pip install -e '.[demo]'`") from None

    serve(list(dict.fromkeys(options.folders or ["data"])), options.port)


def _lines(path: Path | None) -> list[str]:
    if path is None:
        return []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not UTF-8 text; save it as such") from None
    if found := [line.strip() for line in lines if line.strip()]:
        return found
    raise ValueError(f"{path}: no prompt in it; write one a line")


def _open(path: Path) -> "Image.Image":
    from vqpriors.data.decoding import BadImageError, decode

    try:
        return decode(path.read_bytes(), max_pixels=MAX_PIXELS)
    except BadImageError as error:
        raise ValueError(f"{path}: {error}; give another picture") from None


if __name__ == "__main__":
    main()

"""`python -m vqpriors`: draw pictures from prompts, edit and caption them, share the model."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vqpriors.core.threads import wait_without_spinning
from vqpriors.inference.limits import EXAMPLE_PROMPT, MAX_PIXELS

if TYPE_CHECKING:
    from PIL import Image

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

wait_without_spinning()  # before a command imports torch


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; on an error print one line and exit with code 1."""
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
    _add_generate(commands)
    _add_caption(commands)
    _add_push(commands)
    _add_demo(commands)
    return parser


def _add_generate(commands: "Commands") -> None:
    draw = commands.add_parser("generate", help="draw pictures from prompts, or redraw a picture")
    draw.set_defaults(run=_generate)
    draw.add_argument(
        "--prompt",
        action="append",
        default=[],
        help=f'a description, such as "{EXAMPLE_PROMPT}"; may be repeated',
    )
    draw.add_argument(
        "--prompts", type=Path, metavar="FILE", help="text file with one prompt per line"
    )
    draw.add_argument(
        "--num-samples", type=int, default=1, metavar="N", help="pictures per prompt (default: 1)"
    )
    draw.add_argument(
        "--inpaint",
        type=Path,
        nargs=2,
        metavar=("PICTURE", "MASK"),
        help="redraw the white part of a mask and keep the black part; of a mask with transparent "
        "parts, redraw paint of one colour, or what was erased (masked priors only)",
    )
    draw.add_argument(
        "--vary",
        type=Path,
        metavar="PICTURE",
        help="redraw a random half of a picture's codes (masked priors only)",
    )
    draw.add_argument(
        "--steps",
        type=int,
        metavar="N",
        help="decoding steps (masked priors only; default: params.yaml)",
    )
    draw.add_argument(
        "--temperature",
        type=float,
        metavar="T",
        help="divides the logits; 0 takes the likeliest codes (default: params.yaml)",
    )
    draw.add_argument(
        "--guidance",
        type=float,
        metavar="S",
        help="guidance scale, 1 for none (default: params.yaml)",
    )
    draw.add_argument("--seed", type=int, default=0, metavar="N", help="random seed (default: 0)")
    draw.add_argument(
        "--animate", action="store_true", help="also save the decoding steps as sheet.gif"
    )
    draw.add_argument(
        "--out",
        type=Path,
        default=Path("samples"),
        metavar="FOLDER",
        help="folder in which each call makes a numbered folder of pictures (default: samples)",
    )
    _add_source(draw)


def _add_caption(commands: "Commands") -> None:
    caption = commands.add_parser("caption", help="caption pictures")
    caption.set_defaults(run=_caption)
    caption.add_argument("pictures", type=Path, nargs="+", help="picture files")
    caption.add_argument(
        "--seed", type=int, default=0, metavar="N", help="random seed (default: 0)"
    )
    _add_source(caption)


def _add_push(commands: "Commands") -> None:
    push = commands.add_parser("push", help="upload a trained model to the Hugging Face Hub")
    push.set_defaults(run=_push)
    push.add_argument("repository", help="Hub id, owner/name; created as private if missing")
    push.add_argument("--public", action="store_true", help="create the repository as public")
    _add_source(push)


def _add_demo(commands: "Commands") -> None:
    demo = commands.add_parser("demo", help="serve a web page to draw with, on this machine only")
    demo.set_defaults(run=_demo)
    demo.add_argument("--port", type=int, help="port (default: the first free one from 7860)")
    demo.add_argument(
        "--from",
        dest="folders",
        action="append",
        metavar="SOURCE",
        help="folder with a trained model, or a Hub id (default: data); repeat to offer several",
    )


def _add_source(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--from",
        dest="source",
        default="data",
        metavar="SOURCE",
        help="folder with a trained model, or a Hub id (default: data)",
    )
    command.add_argument(
        "--rev", help="commit or DVC experiment of the folder's checkout, or revision on the Hub"
    )


def _generate(options: argparse.Namespace) -> None:
    prompts = [*options.prompt, *_lines(options.prompts)]
    if options.inpaint and options.vary:
        raise ValueError("--vary: not together with --inpaint; leave one out")
    redrawn = options.inpaint or ([options.vary] if options.vary else [])
    if not prompts and not redrawn:
        raise ValueError(f'--prompt: missing; give one, such as --prompt "{EXAMPLE_PROMPT}"')
    if redrawn and len(prompts) > 1:
        raise ValueError("--prompt: at most one with --inpaint or --vary")
    images = [_open(path) for path in redrawn]
    if options.inpaint:
        _tell_of_whole_mask(images[1])

    # Imported after the checks that need no model, since importing torch is slow.
    from vqpriors.inference.generator import Generator
    from vqpriors.inference.saving import save_pictures, settings_of
    from vqpriors.inference.settings import SamplingOptions

    generator = Generator.load(options.source, options.rev)
    names = ("steps", "temperature", "guidance", "seed")
    values = {name: getattr(options, name) for name in names}
    if values["steps"] is not None and not generator.has_steps:
        print(
            f"warning: generate: --steps: ignored: {generator.arch} draws one code after another",
            file=sys.stderr,
        )
        values["steps"] = None
    settings = {"num_samples": options.num_samples, **values}
    frames: list[list[Image.Image]] = []
    if options.animate:
        _require_one_batch(
            max(1, len(prompts)) * options.num_samples, generator.defaults.batch_size
        )
        settings["callback"] = frames.append
    if options.inpaint:
        pictures = generator.inpaint(images[0], images[1], "".join(prompts), **settings)
    elif options.vary:
        pictures = generator.vary(images[0], "".join(prompts), **settings)
    else:
        pictures = generator(prompts, **settings)
    folder = save_pictures(
        options.out,
        pictures,
        prompts or [""],
        settings=settings_of(generator, SamplingOptions(**values)),
        frames=frames,
    )
    count = f"{len(pictures):,} picture{'s' * (len(pictures) > 1)}"
    print(f"{count} and sheet.png{' and sheet.gif' if frames else ''} in {folder}")


def _tell_of_whole_mask(mask: "Image.Image") -> None:
    from vqpriors.data.decoding import BadImageError
    from vqpriors.inference.masks import marked_pixels

    try:
        is_whole = marked_pixels(mask).all()
    except BadImageError as error:
        raise ValueError(f"mask: {error}") from None
    if is_whole:
        problem = "mask: all of it is white, so the whole picture is redrawn"
        print(f"warning: generate: {problem}; paint the part to keep black", file=sys.stderr)


def _require_one_batch(count: int, batch_size: int) -> None:
    """Check that all pictures are in one batch, since batches are previewed one after another."""
    if count > batch_size:
        raise ValueError(
            f"--animate: at most {batch_size:,} pictures, which is one batch (sample.batch_size), "
            f"got {count:,}"
        )


def _caption(options: argparse.Namespace) -> None:
    pictures = [_open(path) for path in options.pictures]

    from vqpriors.inference.generator import Generator

    captions = Generator.load(options.source, options.rev).caption(pictures, seed=options.seed)
    for path, caption in zip(options.pictures, captions, strict=True):
        print(f"{path}: {caption}")


def _push(options: argparse.Namespace) -> None:
    from vqpriors.publish.hub import require_id

    require_id(options.repository)
    from vqpriors.inference.generator import Generator

    generator = Generator.load(options.source, options.rev)
    print(generator.push(options.repository, private=not options.public))


def _demo(options: argparse.Namespace) -> None:
    os.environ["GRADIO_ANALYTICS_ENABLED"] = (
        "False"  # before the import of gradio, which may read it
    )
    try:
        from vqpriors.demo import serve
    except ModuleNotFoundError as error:
        if error.name != "gradio":
            raise
        raise ValueError("gradio: not installed; run `pip install -e '.[demo]'`") from None

    serve(list(dict.fromkeys(options.folders or ["data"])), options.port)


def _lines(path: Path | None) -> list[str]:
    if path is None:
        return []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not UTF-8 text") from None
    if found := [line.strip() for line in lines if line.strip()]:
        return found
    raise ValueError(f"{path}: no prompt in it; write one per line")


def _open(path: Path) -> "Image.Image":
    from vqpriors.data.decoding import BadImageError, decode

    try:
        return decode(path.read_bytes(), max_pixels=MAX_PIXELS)
    except BadImageError as error:
        raise ValueError(f"{path}: {error}") from None


if __name__ == "__main__":
    main()

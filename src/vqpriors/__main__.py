"""Draw pictures from prompts, edit and caption them, share the model."""

import argparse
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from vqpriors.cli.abilities import abilities_of, read_abilities
from vqpriors.cli.drawing import generate, open_picture
from vqpriors.cli.loading import load_generator
from vqpriors.cli.options import build_parser, parse
from vqpriors.core.environment import prepare_environment

_LOG = logging.getLogger("vqpriors")

prepare_environment()  # before a command imports torch


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; on an error print one line and exit with code 1."""
    try:
        options = parse(build_parser(__doc__ or ""), arguments)
    except BrokenPipeError:  # of a reader such as `head`; later writes would fail again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    try:
        with _logging_in_one_line(options.command, options.log_level):
            COMMANDS[options.command](options)
    except KeyboardInterrupt:
        if options.debug:
            raise
        print(f"error: {options.command}: interrupted", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    except (ValueError, OSError, RuntimeError, MemoryError) as error:
        if options.debug or (reason := _reason(error)) is None:
            raise
        sys.exit(f"error: {options.command}: {' '.join(reason.split())}")


def _reason(error: Exception) -> str | None:
    """Return what to say of an error; None for one that nobody expects."""
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, (ValueError, OSError)):
        return str(error)
    from vqpriors.core.hardware import is_out_of_memory  # slow to import

    if is_out_of_memory(error):
        return "out of memory; draw fewer pictures at a time (sample.batch_size)"
    return None


@contextmanager
def _logging_in_one_line(command: str, level: str) -> Iterator[None]:
    """Print messages as `<level>: <command>: <message>`; at debug, also those of other packages."""
    logger = logging.getLogger() if level == "debug" else _LOG
    before, handler = logger.level, logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(command))
    logger.addHandler(handler)
    logger.setLevel(level.upper())
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


class _Formatter(logging.Formatter):
    def __init__(self, command: str):
        super().__init__()
        self.command = command

    def format(self, record: logging.LogRecord) -> str:
        message = " ".join(record.getMessage().split())
        return f"{record.levelname.lower()}: {self.command}: {message}"


def _caption(options: argparse.Namespace) -> None:
    pictures = [open_picture(path) for path in options.pictures]
    known = read_abilities(options.source, options.rev)
    if known:
        known.require_captions()

    generator = load_generator(options.source, options.rev)
    _LOG.info("loaded %r", generator)
    abilities_of(generator).require_captions()
    captions = generator.caption(pictures, seed=options.seed)
    for path, caption in zip(options.pictures, captions, strict=True):
        print(f"{path}: {caption}")


def _save(options: argparse.Namespace) -> None:
    load_generator(options.source, options.rev).save(options.folder, half=options.half)
    print(options.folder)


def _push(options: argparse.Namespace) -> None:
    from vqpriors.publish.hub import require_id

    require_id(options.repository)
    generator = load_generator(options.source, options.rev)
    print(generator.push(options.repository, private=not options.public))


def _demo(options: argparse.Namespace) -> None:
    # Before the import of gradio, which may read it.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        from vqpriors.demo import serve
    except ModuleNotFoundError as error:
        if error.name != "gradio":
            raise
        raise ValueError("gradio: not installed; run `pip install -e '.[demo]'`") from None

    serve(options.sources or ["data"], options.revisions or [], options.port)


COMMANDS = {
    "generate": generate,
    "caption": _caption,
    "save": _save,
    "push": _push,
    "demo": _demo,
}

if __name__ == "__main__":
    main()

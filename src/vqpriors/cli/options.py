"""Options of the command line; imports nothing slow."""

import argparse
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqpriors.inference.limits import EXAMPLE_PROMPT

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

LEVELS = ("error", "warning", "info", "debug")
SAMPLES = Path("samples")
PARAMS_DEFAULT = "(default: the model's own, from params.yaml)"


class _Version(argparse.Action):
    """Print the version, which is read from the installed package only if asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from vqpriors.core.version import package_version

        print(f"vqpriors {package_version()}")
        parser.exit()


class _Completion(argparse.Action):
    """Print a script with which a shell completes the commands, options and files."""

    def __call__(self, parser: argparse.ArgumentParser, _: Any, shell: Any, *__: Any) -> None:
        import shtab

        parser.prog = "vqpriors"
        for command in (parser, *_commands_of(parser).values()):
            for action in command._actions:
                if action.type is user_path:
                    vars(action)["complete"] = shtab.FILE  # as shtab documents it
        print(shtab.complete(parser, shell=shell), flush=True)
        parser.exit()


def _commands_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    choices = (each.choices for each in parser._actions if each.dest == "command")
    return next((found for found in choices if isinstance(found, dict)), {})


def parse(
    parser: argparse.ArgumentParser, arguments: Sequence[str] | None = None
) -> argparse.Namespace:
    """Parse the command line; for unknown options, suggest those of the command."""
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        command = _commands_of(parser)[options.command]
        known = [name for action in command._actions for name in action.option_strings]
        close = get_close_matches(unknown[0].partition("=")[0], known, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        if "--prompt" in known and not unknown[0].startswith("-"):
            hint = "; write --prompt before each prompt"
        command.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
    return options


def user_path(text: str) -> Path:
    """Return a path, with `~` as the home, which shells leave in `--out=~/pictures`."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise argparse.ArgumentTypeError(f"{text}: no such user") from None


def build_parser(description: str) -> argparse.ArgumentParser:
    """Build the parser; its options have the command's name as `command`."""
    parser = argparse.ArgumentParser(prog=program_name(sys.argv[0]), description=description)
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    parser.add_argument(
        "--print-completion",
        action=_Completion,
        choices=("bash", "zsh", "tcsh"),
        help="print a completion script for a shell and exit; in bash: "
        'eval "$(vqpriors --print-completion bash)"',
    )
    _add_common(parser, log_level="warning", debug=False)
    commands = parser.add_subparsers(dest="command", required=True)
    _add_generate(commands)
    _add_caption(commands)
    _add_save(commands)
    _add_push(commands)
    _add_demo(commands)
    for command in commands.choices.values():  # accepted before and after the command's name
        _add_common(command, log_level=argparse.SUPPRESS, debug=argparse.SUPPRESS)
    return parser


def program_name(path: str) -> str:
    """Return how the program was called, from the first item of `sys.argv`."""
    return "vqpriors" if Path(path).stem == "vqpriors" else "python -m vqpriors"


def _add_common(parser: argparse.ArgumentParser, *, log_level: str, debug: Any) -> None:
    parser.add_argument(
        "--log-level",
        choices=LEVELS,
        default=log_level,
        help="least severe messages to show; debug: also those of other packages "
        "(default: warning)",
    )
    parser.add_argument(
        "--debug", action="store_true", default=debug, help="show the traceback of an error"
    )


def _add_generate(commands: "Commands") -> None:
    draw = commands.add_parser("generate", help="draw pictures from prompts, or redraw a picture")
    draw.add_argument(
        "--prompt",
        action="append",
        default=[],
        help=f'a description, such as "{EXAMPLE_PROMPT}"; may be repeated',
    )
    draw.add_argument(
        "--prompts", type=user_path, metavar="FILE", help="text file with one prompt per line"
    )
    draw.add_argument(
        "--num-samples", type=int, default=1, metavar="N", help="pictures per prompt (default: 1)"
    )
    draw.add_argument(
        "--inpaint",
        type=user_path,
        nargs=2,
        metavar=("PICTURE", "MASK"),
        help="redraw the white part of the mask and keep the black part; in a mask with "
        "transparent parts, paint of one colour other than black is redrawn, otherwise the "
        "transparent part "
        "(masked priors only: cftn, cftn2)",
    )
    draw.add_argument(
        "--no-paste",
        dest="paste",
        action="store_false",
        help="with --inpaint: do not paste the kept pixels over the result",
    )
    draw.add_argument(
        "--vary",
        type=user_path,
        metavar="PICTURE",
        help="redraw a random half of a picture's codes (masked priors only: cftn, cftn2)",
    )
    draw.add_argument(
        "--steps",
        type=int,
        metavar="N",
        help=f"decoding steps (masked priors only: cftn, cftn2) {PARAMS_DEFAULT}",
    )
    draw.add_argument(
        "--temperature",
        type=float,
        metavar="T",
        help=f"divides the logits; 0 takes the likeliest codes {PARAMS_DEFAULT}",
    )
    draw.add_argument(
        "--guidance",
        type=float,
        metavar="S",
        help=f"guidance scale, 1 for none {PARAMS_DEFAULT}",
    )
    draw.add_argument("--seed", type=int, default=0, metavar="N", help="random seed (default: 0)")
    draw.add_argument(
        "--compile",
        action="store_true",
        default=None,
        help="draw faster on a CPU, by parts in C that the machine's C compiler builds: steps of "
        "transformer for a few pictures, layers of cftn and cftn2",
    )
    draw.add_argument(
        "--animate", action="store_true", help="also save the decoding steps as sheet.gif"
    )
    draw.add_argument(
        "--out",
        type=user_path,
        metavar="FOLDER",
        help=f"folder for the pictures, new or empty (default: the next of {SAMPLES}/0001, ...)",
    )
    _add_source(draw)


def _add_caption(commands: "Commands") -> None:
    caption = commands.add_parser("caption", help="caption pictures (the prior cftn2 only)")
    caption.add_argument(
        "pictures", type=user_path, nargs="+", help="picture files, such as PNG, JPEG or WebP"
    )
    caption.add_argument(
        "--seed", type=int, default=0, metavar="N", help="random seed (default: 0)"
    )
    _add_source(caption)


def _add_save(commands: "Commands") -> None:
    save = commands.add_parser("save", help="save a trained model as one folder, for --from")
    save.add_argument(
        "folder", type=user_path, help="new or empty folder, or a saved model, which is replaced"
    )
    save.add_argument(
        "--half", action="store_true", help="store weights in float16, for half the size"
    )
    _add_source(save)


def _add_push(commands: "Commands") -> None:
    push = commands.add_parser("push", help="upload a trained model to the Hugging Face Hub")
    push.add_argument("repository", help="Hub id, owner/name; created as private if missing")
    push.add_argument("--public", action="store_true", help="create the repository as public")
    _add_source(push)


def _add_demo(commands: "Commands") -> None:
    demo = commands.add_parser("demo", help="serve a web page to draw with, on this machine only")
    demo.add_argument("--port", type=int, help="port (default: the first free one from 7860)")
    demo.add_argument(
        "--from",
        dest="sources",
        action="append",
        metavar="SOURCE",
        help="folder with a trained model, a Hub id or `default` (default: data); repeat to offer "
        "several",
    )
    demo.add_argument(
        "--rev",
        dest="revisions",
        action="append",
        metavar="REV",
        help="commit or DVC experiment of the folder's checkout, or revision on the Hub; repeat to "
        "offer several (of one --from)",
    )


def _add_source(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--from",
        dest="source",
        default="data",
        metavar="SOURCE",
        help="folder with a trained model, a Hub id, or `default` for the digits model that comes "
        "with the package (default: data)",
    )
    command.add_argument(
        "--rev", help="commit or DVC experiment of the folder's checkout, or revision on the Hub"
    )

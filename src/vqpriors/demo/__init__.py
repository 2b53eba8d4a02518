"""`python -m vqpriors demo`: a local web page that draws pictures and previews every step.

It loads nothing from other machines: no font, no script, no statistics.
"""

import socket
from collections.abc import Sequence
from pathlib import Path

from vqpriors.demo.page import build_page
from vqpriors.demo.theme import CSS, theme
from vqpriors.inference.generator import Generator
from vqpriors.publish.hub import is_id

HOST = "127.0.0.1"
MAX_UPLOAD = "20mb"
HIGHEST_PORT = 65535


def serve(sources: Sequence[str], revisions: Sequence[str], port: int | None) -> None:
    """Load generators and serve the page until Ctrl-C.

    Args:
        sources: Folders of generators, or Hub ids, to choose from on the page; the first one is
            preselected.
        revisions: Revisions of the only source to choose from instead; empty for none.
        port: The port; None takes the first free one from 7860.

    Raises:
        ValueError: If revisions of several sources are asked for, a part is missing or damaged, or
            the port is not available.
    """
    if revisions and len(set(sources)) > 1:
        raise ValueError("--rev: only with one --from; save the others with `vqpriors save`")
    if port is not None:
        _require_port(port)
    wanted = [(source, revision) for source in sources for revision in revisions or [None]]
    page = build_page(load_named(list(dict.fromkeys(wanted))))
    try:
        _, address, _ = page.launch(
            server_name=HOST,
            server_port=port,
            share=False,
            prevent_thread_lock=True,
            quiet=True,
            theme=theme(),
            css=CSS,
            footer_links=[],
            run_history=False,
            ssr_mode=False,
            mcp_server=False,
            pwa=False,
            num_workers=0,
            max_file_size=MAX_UPLOAD,
        )
    except OSError as error:
        raise ValueError(f"--port: {error}") from None
    print(f"{address} (press Ctrl-C to stop)", flush=True)
    page.block_thread()


def load_named(wanted: Sequence[tuple[str, str | None]]) -> dict[str, Generator]:
    """Load generators; return them by short names, such as "my-digits (cftn2)".

    Args:
        wanted: Sources and revisions, as in `Generator.load`.

    Raises:
        ValueError: As `Generator.load`.
    """
    found: dict[str, Generator] = {}
    for source, revision in wanted:
        generator = Generator.load(source, revision)
        label = revision or (source if is_id(source) else Path(source).absolute().name)
        name, number = f"{label} ({generator.arch})", 2
        while name in found:  # folders of one name
            name, number = f"{label} {number} ({generator.arch})", number + 1
        found[name] = generator
    return found


def _require_port(port: int) -> None:
    """Check that a port is available, before anything is loaded."""
    if not 1 <= port <= HIGHEST_PORT:
        raise ValueError(f"--port: must be 1 to {HIGHEST_PORT}, got {port}")
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as gradio does
        try:
            trial.bind((HOST, port))
        except OSError as error:
            raise ValueError(f"--port: {port}: {error.strerror}") from None

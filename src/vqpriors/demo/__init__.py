"""`python -m vqpriors demo`: a local web page that draws pictures and previews every step.

It loads nothing from other machines: no font, no script, no statistics.
"""

import socket
from collections.abc import Sequence

from vqpriors.demo.page import build_page
from vqpriors.demo.theme import CSS, theme
from vqpriors.inference.generator import Generator

HOST = "127.0.0.1"
MAX_UPLOAD = "20mb"
HIGHEST_PORT = 65535


def serve(folders: Sequence[str], port: int | None) -> None:
    """Load generators and serve the page until Ctrl-C.

    Args:
        folders: Folders of generators, or Hub ids, to choose from on the page; the first one is
            preselected.
        port: The port; None takes the first free one from 7860.

    Raises:
        ValueError: If a part is missing or damaged, or the port is not available.
    """
    if port is not None:
        _require_port(port)
    page = build_page({folder: Generator.load(folder) for folder in folders})
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

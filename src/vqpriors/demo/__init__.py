"""`python -m vqpriors demo`: a page on this machine that shows pictures as they form.

It asks nothing of any other machine: no font, no script, no statistics.
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
    """Load generators and show the page until Ctrl-C.

    Args:
        folders: Of trained parts; each is a choice on the page, the first of them chosen.
        port: Where on this machine; None: the first free one from 7860.

    Raises:
        ValueError: If a part is missing or damaged, or the port can't be had.
    """
    if port is not None:
        _check(port)
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
    print(f"{address} shows it; Ctrl-C ends it", flush=True)
    page.block_thread()


def _check(port: int) -> None:
    """Refuse a port that can't be had, before anything is loaded."""
    if not 1 <= port <= HIGHEST_PORT:
        raise ValueError(f"--port: must be 1 to {HIGHEST_PORT}, got {port}; choose another")
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as gradio does
        try:
            trial.bind((HOST, port))
        except OSError as error:
            raise ValueError(f"--port: {port}: {error.strerror}; choose another") from None

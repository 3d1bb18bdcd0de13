"""`deformgan view`: open the page of a registration, a training run or a study in the browser."""

from __future__ import annotations

import webbrowser
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Annotated, Any

import typer

from deformgan.errors import InputError

ADDRESS = "127.0.0.1"
PAGES = ("report.html", "study.html")
Port = Annotated[int, typer.Option(min=0, max=65535, help="Of this machine; 0 takes a free one.")]


class OnePage(SimpleHTTPRequestHandler):
    """Serves the page, and of the rest of the folder nothing."""

    def __init__(self, *args: Any, page: Path) -> None:
        self._page = page
        super().__init__(*args, directory=str(page.parent))

    def translate_path(self, path: str) -> str:
        """Both `/` and `/report.html` are the page; anything else is a file that does not exist."""
        return str(self._page if path.split("?")[0] in ("/", f"/{self._page.name}") else self._page.parent / "\0")

    def send_head(self) -> Any:
        """Only to those who ask this machine by its own name: no other site's page may read the images."""
        host = (self.headers.get("Host") or "").rsplit(":", 1)[0]
        if host not in (ADDRESS, "localhost"):
            self.send_error(403)
            return None
        if self.translate_path(self.path) != str(self._page):
            self.send_error(404)
            return None
        return super().send_head()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def view(
    folder: Annotated[Path, typer.Argument(help="Folder of the results, or the page itself.", metavar="DIR")],
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the browser.")] = True,
    port: Port = 0,
) -> None:
    """Show the page of DIR in the browser, from this machine alone (127.0.0.1), until Ctrl-C.

    Examples:
    deformgan view result
    """
    with server(page_in(folder), port) as serving:
        address = f"http://{ADDRESS}:{serving.server_address[1]}/"
        typer.echo(f"{address}  (Ctrl-C ends)")
        if browser:
            webbrowser.open(address)
        serving.serve_forever()


def page_in(folder: Path) -> Path:
    """The page of a folder, or the page itself.  Raises InputError where there is none."""
    if folder.is_file() and folder.suffix == ".html":
        return folder.resolve()
    found = [folder / name for name in PAGES if (folder / name).is_file()]
    if not found:
        raise InputError(f"{folder}: holds no {' or '.join(PAGES)}; give a folder that register, train or study wrote")
    return found[0].resolve()


def server(page: Path, port: int) -> ThreadingHTTPServer:
    """A server of the page alone, bound to this machine.  Raises InputError where the port is taken."""
    try:
        return ThreadingHTTPServer((ADDRESS, port), partial(OnePage, page=page))
    except OSError as error:
        raise InputError(f"--port {port}: {error.strerror or error}; give another, or 0 for a free one") from error

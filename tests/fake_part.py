"""A stand-in for a part of an instance: answers /healthz, notes its start and stop in a file.

`python tests/fake_part.py NAME JOURNAL [PORT] [--deaf]`
"""

import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path


class Health(BaseHTTPRequestHandler):
    """200 for everything."""

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(200)
        self.end_headers()

    def log_message(self, *unused: object) -> None:
        """Nothing: the journal is what the tests read."""


def main() -> None:
    """Serve until SIGTERM."""
    name, journal, port = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])

    def note(what: str) -> None:
        with journal.open("a", encoding="utf-8") as file:
            file.write(f"{what} {name} {os.getpid()}\n")

    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *unused: None if "--deaf" in sys.argv else stop.set())
    note("start")
    server = HTTPServer(("127.0.0.1", port), Health) if port else None
    if server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    while not stop.wait(0.05):
        pass
    note("stop")


if __name__ == "__main__":
    main()

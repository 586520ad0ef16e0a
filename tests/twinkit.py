"""A door that only records: GA/T 1400 for the platforms, NDJSON for the native sender."""

import base64
import hashlib
import json
import os
import re
import threading
from collections import deque
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from traffic.clock import SHANGHAI
from traffic.secrets import ha1

CODE, PASSWORD, REALM = "22010000005030000001", "pass-word-1", "traffic"


class RecordingDoor(ThreadingHTTPServer):
    """Takes MotorVehicles of registered devices and remembers; `script` holds answers that come first instead.

    `native`: what came to each native address; `native_script` as `script`, with the indices that are not taken.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[tuple[str, str]] = []  # (path, User-Identify)
        self.taken: list[dict] = []
        self.registered: set[str] = set()
        self.passwords = {CODE: PASSWORD}
        self.script: deque[tuple[int, dict[str, str], int]] = deque()  # status, headers, how many to take all the same
        self.native: dict[str, list[dict]] = {}
        self.keys: set[str] = set()
        self.native_script: deque[tuple[int, dict[str, str], list[int]]] = deque()
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: RecordingDoor
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.requests.append((self.path, self.headers["User-Identify"]))
        now = datetime.now(SHANGHAI)  # noqa: TID251 - a door's real clock
        self._answer(200, {"SystemTimeObject": {"LocalTime": f"{now:%Y%m%d%H%M%S}"}})

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.startswith("/api/"):
            return self._take_native([json.loads(line) for line in content.splitlines()])
        body = json.loads(content)
        device = self.headers["User-Identify"]
        self.server.requests.append((self.path, device))
        if self.path in ("/VIID/System/Register", "/VIID/System/UnRegister"):
            return self._register(device)
        if device not in self.server.registered:
            return self._answer(401, {})
        if self.path == "/VIID/MotorVehicles":
            return self._take(body["MotorVehicleListObject"]["MotorVehicleObject"], device)
        return self._answer(200, {"ResponseStatusObject": {"StatusCode": "0"}})

    def _register(self, device: str) -> None:
        fields = dict(re.findall(r'(\w+)="?([^",]*)"?', self.headers.get("Authorization", "")))
        if fields and self._fits(fields, device):
            self.server.registered.add(device)
            return self._answer(200, {"ResponseStatusObject": {"StatusCode": "0"}})
        nonce = base64.b64encode(os.urandom(12)).decode().rstrip("=")
        challenge = {"WWW-Authenticate": f'Digest realm="{REALM}", qop="auth", algorithm=MD5, nonce="{nonce}"'}
        return self._answer(401, {}, challenge)

    def _fits(self, fields: dict[str, str], device: str) -> bool:
        def md5(text: str) -> str:
            return hashlib.md5(text.encode()).hexdigest()

        secret = ha1(device, REALM, self.server.passwords.get(device, ""))
        rest = ":".join(fields[name] for name in ("nonce", "nc", "cnonce", "qop"))
        return fields["response"] == md5(f"{secret}:{rest}:{md5('POST:' + self.path)}")

    def _take(self, records: list[dict], device: str) -> None:
        status, headers, count = self.server.script.popleft() if self.server.script else (200, {}, len(records))
        if status == 401:
            self.server.registered.discard(device)
            return self._answer(401, {})
        self.server.taken += records[:count]
        codes = ["0"] * min(count, len(records)) + ["2"] * max(0, len(records) - count)
        statuses = [{"StatusCode": code} for code in codes]
        return self._answer(status, {"ResponseStatusListObject": {"ResponseStatusObject": statuses}}, headers)

    def _take_native(self, records: list[dict]) -> None:
        self.server.keys.add(self.headers["Authorization"])
        script = self.server.native_script
        status, headers, left = script.popleft() if script else (200, {}, [])
        taken = [record for index, record in enumerate(records) if index not in left]
        self.server.native.setdefault(self.path, []).extend(taken)
        return self._answer(status, {"accepted": len(taken), "rejected": [], "not_taken": left}, headers)

    def _answer(self, status: int, body: dict, headers: dict[str, str] | None = None) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        return None

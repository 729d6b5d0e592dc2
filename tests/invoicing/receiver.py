"""A web server that receives webhooks, checks them, and fails when it is told to."""

import json
import threading
from base64 import b64decode, b64encode
from hashlib import sha256
from hmac import HMAC
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any


class Receiver:
    """Answers with the next of `answers`, 200 when none is left. `got`: what came, with its headers."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], dict[str, Any]]] = []
        self.bodies: list[bytes] = []
        self.answers: list[int] = []
        receiver = self

        class Answering(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.bodies.append(body)
                receiver.got.append(({key.lower(): text for key, text in self.headers.items()}, json.loads(body)))
                status = receiver.answers.pop(0) if receiver.answers else 200
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("Location", f"{receiver.url}elsewhere")
                self.end_headers()
                self.wfile.write(b"" if status == 204 else b"told")

            def log_message(self, *args: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Answering)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def is_signed(self, place: int, secret: str) -> bool:
        """As the scheme's own libraries check it, written down once more."""
        headers, _ = self.got[place]
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + self.bodies[place]
        wanted = b64encode(HMAC(b64decode(secret.removeprefix("whsec_")), signed, sha256).digest()).decode()
        return f"v1,{wanted}" in headers["webhook-signature"].split(" ")

    def end(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

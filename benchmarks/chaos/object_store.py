"""A server of S3 on loopback, and a proxy before it that fails as it is told."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import logging
import random
import threading
import time
from collections.abc import Iterator
from typing import Any


class Proxy(http.server.ThreadingHTTPServer):
    """Passes requests on to a server, and fails as `fault` says; counts the blocks whose last table
    went through.

    A fault's name says what becomes of a request: "503" and "400" are refused, "slow" waits, "half"
    carries half of its content; those that "die" do so after the first few, when no request is
    answered any more.
    """

    daemon_threads = True
    dies_after = 3

    def __init__(self, port: int, seed: int = 0) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target, self.chance = port, random.Random(seed)
        self.n_requests = self.n_blocks = self.n_failed = 0
        self.calm()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def calm(self) -> None:
        """Let every request through."""
        self.fault, self.rate, self.until = "", 0.0, 0.0
        self.trap, self.caught, self.released = False, threading.Event(), threading.Event()

    def rage(self, fault: str) -> None:
        """Let a part of the requests, or all, fail for some seconds, as long as their senders may
        try again."""
        self.fault, self.rate = fault, self.chance.choice([0.2, 0.5, 1.0])
        self.until = time.monotonic() + self.chance.uniform(3, 25)

    def fail(self, fault: str) -> None:
        """Let every request fail until `calm`: longer than anyone tries."""
        self.fault, self.rate, self.until, self.n_failed = fault, 1.0, float("inf"), 0

    def catch(self, limit_s: float = 30) -> bool:
        """Hold the next object that is written when half of it has arrived; return whether there
        was one in time."""
        self.trap = True
        return self.caught.wait(limit_s)

    def fault_now(self) -> str:
        """Return what becomes of the next request."""
        if not (time.monotonic() < self.until and self.chance.random() < self.rate):
            return ""
        self.n_failed += 1
        return "dead" if "dies" in self.fault and self.n_failed > self.dies_after else self.fault

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that hang up or are killed: they are meant to."""

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def _pass(self) -> None:
        server, n_bytes = self.server, int(self.headers.get("Content-Length") or 0)
        if self.command == "PUT" and server.trap and not server.caught.is_set():
            self.rfile.read(n_bytes // 2)
            server.caught.set()
            server.released.wait(30)
            self.close_connection = True
            return
        body = self.rfile.read(n_bytes)
        fault = server.fault_now()
        if fault == "dead" or (
            "half" in fault and self.command == "PUT"
        ):  # the store never sees a whole request
            self.close_connection = True
            return
        if "503" in fault:
            self._answer(
                503,
                {},
                b"<Error><Code>SlowDown</Code><Message>Please reduce your request "
                b"rate.</Message></Error>",
            )
            return
        if "400" in fault:
            self._answer(
                400,
                {},
                b"<Error><Code>InvalidToken</Code><Message>The token is not "
                b"valid.</Message></Error>",
            )
            return
        if "slow" in fault:
            time.sleep(server.chance.uniform(0.5, 2))
        status, headers, content = self._forward(body)
        server.n_requests += 1
        server.n_blocks += self.command == "PUT" and "/steps/" in self.path
        self._answer(status, headers, content, half="half" in fault and len(content) > 1)

    def _forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        link = http.client.HTTPConnection("127.0.0.1", self.server.target, timeout=60)
        link.request(
            self.command, self.path, body,
            {key: value for key, value in self.headers.items() if key.lower() not in ("connection", "expect")},
        )  # fmt: skip
        reply = link.getresponse()
        content = reply.read()
        link.close()
        return reply.status, dict(reply.getheaders()), content

    def _answer(
        self, status: int, headers: dict[str, str], content: bytes, *, half: bool = False
    ) -> None:
        self.send_response_only(status)
        for key, value in headers.items():
            if key.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(key, value)
        length = next(
            (v for k, v in headers.items() if k.lower() == "content-length"), len(content)
        )
        self.send_header("Content-Length", length if self.command == "HEAD" else str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if half else content)
        self.close_connection = self.close_connection or half

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextlib.contextmanager
def s3_server() -> Iterator[Proxy]:
    """A server of S3 on loopback, behind a proxy that fails when it is told to."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server.start()
    proxy = Proxy(server.get_host_and_port()[1])
    try:
        yield proxy
    finally:
        proxy.shutdown()
        proxy.server_close()
        server.stop()

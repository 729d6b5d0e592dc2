"""An HTTP client that costs next to nothing: prepared requests over kept connections in one thread."""

import selectors
import socket
import time
from collections import Counter
from collections.abc import Iterable

END_OF_HEAD = b"\r\n\r\n"
LENGTH = b"content-length:"


class _Connection:
    __slots__ = ("answer", "due", "rest", "socket")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.rest: memoryview = memoryview(b"")
        self.answer = b""
        self.due = 0.0  # latency counts from here


class Poster:
    """Sends the requests in order; at `rate` a second where given, else as fast as they are answered.

    At a rate, latency counts from the moment a request was due: waiting for a free connection is part of it.
    """

    def __init__(self, port: int, requests: Iterable[bytes], *, connections: int, rate: float = 0) -> None:
        self.answers: Counter[int] = Counter()
        self.latencies: list[float] = []
        self.last_answer = 0.0
        self.refused: list[bytes] = []
        self._requests = iter(requests)
        self._rate = rate
        self._sent = 0
        self._port, self._connections = port, connections
        self._selector = selectors.DefaultSelector()
        self._idle: list[_Connection] = []
        self._busy = 0

    def run(self, seconds: float) -> None:
        for _ in range(self._connections):
            self._connect()
        started = time.monotonic()
        until = started + seconds
        more = True
        while more or self._busy:
            now = time.monotonic()
            more = more and now < until
            while more and self._idle and now >= (due := self._due(started, now)):
                more = self._begin(due)
            for ready, mask in self._selector.select(0.001 if self._rate else 0.1):
                self._go_on(ready.data, mask)

    def _due(self, started: float, now: float) -> float:
        return started + self._sent / self._rate if self._rate else now

    def _begin(self, due: float) -> bool:
        request = next(self._requests, None)
        if request is None:
            return False
        connection = self._idle.pop()
        connection.rest, connection.answer, connection.due = memoryview(request), b"", due
        self._sent += 1
        self._busy += 1
        self._send(connection)
        return True

    def _send(self, connection: _Connection) -> None:
        try:
            sent = connection.socket.send(connection.rest)
        except BlockingIOError:
            sent = 0
        connection.rest = connection.rest[sent:]
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.rest else 0)
        if self._selector.get_key(connection.socket).events != wanted:
            self._selector.modify(connection.socket, wanted, connection)

    def _go_on(self, connection: _Connection, mask: int) -> None:
        if mask & selectors.EVENT_WRITE:
            self._send(connection)
        if not mask & selectors.EVENT_READ:
            return
        received = connection.socket.recv(65536)
        if not received:
            self._replace(connection)
            return
        connection.answer += received
        status = _status(connection.answer)
        if status:
            self.last_answer = time.monotonic()
            self.latencies.append(self.last_answer - connection.due)
            self.answers[status] += 1
            if status >= 300 and len(self.refused) < 5:
                self.refused.append(connection.answer)
            self._busy -= 1
            self._idle.append(connection)

    def _connect(self) -> None:
        connection = _Connection(self._port)
        self._selector.register(connection.socket, selectors.EVENT_READ, connection)
        self._idle.append(connection)

    def _replace(self, connection: _Connection) -> None:
        """The server closed it: its right while nothing is asked."""
        if connection not in self._idle:
            raise ConnectionError(f"The server closed a connection before it answered, after {connection.answer!r}.")
        self._idle.remove(connection)
        self._selector.unregister(connection.socket)
        connection.socket.close()
        self._connect()


def _status(answer: bytes) -> int:
    """The status of a complete answer, else 0."""
    head, end, body = answer.partition(END_OF_HEAD)
    if not end:
        return 0
    at = head.lower().find(LENGTH)
    length = int(head[at + len(LENGTH) :].split(b"\r", 1)[0]) if at >= 0 else 0
    return int(head[9:12]) if len(body) >= length else 0

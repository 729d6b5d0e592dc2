"""Posting to addresses that customers name: no redirects, no private networks, no waiting for ever."""

import http.client
import ipaddress
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from django.conf import settings

LONGEST_ANSWER = 500


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, or why there is none."""

    status: int | None
    error: str = ""

    @property
    def taken(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


def post(url: str, body: str, headers: Mapping[str, str]) -> Answer:
    """Post JSON. Only a status of 2xx says that it was taken."""
    try:
        return _post(url, body.encode(), headers)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return Answer(None, f"{type(error).__name__}: {error}"[:LONGEST_ANSWER])


def _post(url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return Answer(None, "The address is no http or https URL.")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    refusal, address = _address(parts.hostname, port)
    if refusal:
        return Answer(None, refusal)
    connection = http.client.HTTPConnection(parts.hostname, port, timeout=settings.WEBHOOK_TIMEOUT_SECONDS)
    # To the address that was looked at: asked again, a name server could give another one.
    connection.sock = socket.create_connection(address, timeout=settings.WEBHOOK_TIMEOUT_SECONDS)
    try:
        if parts.scheme == "https":
            context = ssl.create_default_context()
            connection.sock = context.wrap_socket(connection.sock, server_hostname=parts.hostname)
        path = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
        connection.request("POST", path, body, {"Host": parts.netloc.rpartition("@")[2], **headers})
        answer = connection.getresponse()
        text = answer.read(LONGEST_ANSWER).decode(errors="replace")
        if 300 <= answer.status < 400:
            return Answer(answer.status, "It answers with a redirect, which is not followed: correct the address.")
        return Answer(answer.status, "" if 200 <= answer.status < 300 else text)
    finally:
        connection.close()


def _address(host: str, port: int) -> tuple[str, tuple[str, int]]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(each[4][0]) for each in found]
    if not settings.WEBHOOKS_MAY_REACH_PRIVATE_NETWORKS:
        # Of one that is mixed none is used: it is not what a public address looks like.
        private = [each for each in addresses if not _is_public(each)]
        if private:
            refusal = f"{host} is {private[0]}, an address of a private network: events are not posted there unless "
            return refusal + "WEBHOOKS_MAY_REACH_PRIVATE_NETWORKS is set.", ("", 0)
    return "", (addresses[0], port)


def _is_public(address: str) -> bool:
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return found.is_global and not found.is_multicast

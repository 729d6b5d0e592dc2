"""Signatures of the Standard Webhooks scheme. Pure."""

import hmac
from base64 import b64decode, b64encode
from collections.abc import Iterable

PREFIX = "whsec_"


def signature(secrets: Iterable[str], webhook_id: str, timestamp: int, body: str) -> str:
    """The header `webhook-signature`: one signature for each secret that holds, by spaces."""
    signed = f"{webhook_id}.{timestamp}.{body}".encode()
    return " ".join(f"v1,{_sign(secret, signed)}" for secret in secrets)


def _sign(secret: str, signed: bytes) -> str:
    key = b64decode(secret.removeprefix(PREFIX))
    return b64encode(hmac.digest(key, signed, "sha256")).decode()

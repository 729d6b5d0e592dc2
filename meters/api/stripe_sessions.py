"""Sessions of Stripe's meter event stream: a signed token stands for the key that asked for it, for 15 minutes."""

from datetime import datetime, timedelta
from typing import Any

from django.core import signing
from rest_framework import exceptions

from billing_project.api import BearerKeyAuthentication, Caller
from billing_project.models import ApiKey
from meters.wire.reading import iso
from meters.wire.stripe_v2 import EXPIRED

LIFETIME = timedelta(minutes=15)
PREFIX = "chs_"

_signer = signing.TimestampSigner(salt="meters.stripe_sessions")


def new_session(caller: Caller, now: datetime) -> dict[str, Any]:
    """The object that Stripe answers with."""
    token = PREFIX + _signer.sign_object(caller.id)
    return {
        "object": "v2.billing.meter_event_session",
        "id": f"mes_{token[-24:]}",
        "authentication_token": token,
        "created": iso(now),
        "expires_at": iso(now + LIFETIME),
        "livemode": True,
    }


class SessionAuthentication(BearerKeyAuthentication):
    """`Authorization: Bearer TOKEN`, of a session or of a key."""

    def caller(self, secret: str) -> Caller | None:
        if not secret.startswith(PREFIX):
            return super().caller(secret)
        try:
            key = ApiKey.objects.filter(pk=_signer.unsign_object(secret[len(PREFIX) :], max_age=LIFETIME)).first()
        except signing.SignatureExpired:
            raise exceptions.AuthenticationFailed("This session has expired: open another.", EXPIRED) from None
        except signing.BadSignature:
            return None
        if key is None or key.revoked_at is not None:
            return None
        return Caller(key.pk, key.name, key.prefix, frozenset(key.scopes))

"""A copy of what Stripe tells, in dj-stripe's tables: to be looked at, best effort, never needed.

dj-stripe asks Stripe for every object that one refers to, and keeps the secret key to do so. Here it is asked to do
neither: references to what the copy does not hold are left out, and the key it insists on is none.
"""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from django.core.exceptions import ObjectDoesNotExist
from django.db import models, transaction
from djstripe import models as djstripe

from invoicing.models import MirroredObject, StripeEvent
from invoicing.stripe_ranks import RANK

logger = logging.getLogger(__name__)
Told = Mapping[str, Any]
KINDS: dict[str, Any] = {
    "customer": djstripe.Customer,
    "payment_method": djstripe.PaymentMethod,
    "payment_intent": djstripe.PaymentIntent,
    "charge": djstripe.Charge,
    "refund": djstripe.Refund,
    "dispute": djstripe.Dispute,
    "invoice": djstripe.Invoice,
}
# Has the shape of a key and opens nothing.
NO_KEY, NOBODY = f"rk_test_{'0' * 24}", "acct_none"
# Parts that dj-stripe would make rows of, asking for more pages. They stay in the object as it came.
PARTS = ("lines", "discounts", "discount", "sources", "refunds", "balance_transactions")
PORTION = 500


def mirror_event(event: int) -> None:
    """Copy the object of an event, once, whatever becomes of it."""
    row = StripeEvent.objects.get(pk=event)
    if row.mirrored_at is None:
        told = row.payload["data"]["object"]
        mirror({**told, "deleted": True} if row.type.endswith(".deleted") else told, row.created)
        StripeEvent.objects.filter(pk=event).update(mirrored_at=models.functions.Now())


def mirror_waiting() -> int:
    """Copy the events that were stored and not copied yet, a portion of them; returns how many."""
    waiting = StripeEvent.objects.filter(mirrored_at=None).order_by("created", "pk").values_list("pk", flat=True)
    chosen = list(waiting[:PORTION])
    for event in chosen:
        mirror_event(event)
    return len(chosen)


def mirror_answer(told: Told) -> None:
    """Copy what Stripe answered. Its events are newer, whenever they come: an answer has no time of its own."""
    mirror(told, datetime.fromtimestamp(int(told.get("created") or 0), UTC))


def mirror(told: Told, as_of: datetime) -> None:
    """Copy an object as it was at an instant; what is older than the copy is left out. Never raises: what goes wrong is
    logged and shown in the admin.
    """
    kind, name = str(told.get("object") or ""), str(told.get("id") or "")
    if kind not in KINDS or not name:
        return
    try:
        with transaction.atomic():
            row, new = MirroredObject.objects.select_for_update().get_or_create(
                stripe_id=name, defaults={"kind": kind, "as_of": as_of}
            )
            if new or not _is_older(told, as_of, row):
                _copy(KINDS[kind], told)
                row.as_of, row.error = as_of, ""
                row.save()
    except Exception as error:
        logger.exception("%s %s could not be mirrored", kind, name)
        # What dj-stripe cannot save it looks for again, and says that it is not there.
        cause = (error.__context__ if isinstance(error, ObjectDoesNotExist) else None) or error
        told_of = {"error": f"{type(cause).__name__}: {cause}"}
        known = {"kind": kind, "as_of": as_of, **told_of}
        MirroredObject.objects.update_or_create(stripe_id=name, defaults=told_of, create_defaults=known)


def _is_older(told: Told, as_of: datetime, row: MirroredObject) -> bool:
    """Stripe counts seconds: of two states of the same second the one further on holds."""
    if as_of != row.as_of:
        return as_of < row.as_of
    known = KINDS[row.kind].objects.filter(id=row.stripe_id).values_list("stripe_data__status", flat=True).first()
    return RANK.get(str(told.get("status") or ""), 0) < RANK.get(known or "", 0)


def _copy(model: Any, told: Told) -> None:
    key, _ = djstripe.APIKey.objects.get_or_create_by_api_key(NO_KEY)
    if key.djstripe_owner_account_id is None:
        key.djstripe_owner_account, _ = djstripe.Account.objects.get_or_create(id=NOBODY)
        key.name = "None: the mirror asks Stripe for nothing"
        key.save()
    known = {**told, **{name: [] if isinstance(told[name], list) else None for name in PARTS if name in told}}
    for field in model._meta.get_fields():
        if field.is_relation and field.name in known:
            known[field.name] = _reference(field, known[field.name])
    made = model.sync_from_stripe_data(known, api_key=NO_KEY)
    model.objects.filter(pk=made.pk).update(stripe_data=dict(told), djstripe_owner_account=None)


def _reference(field: Any, given: Any) -> str | None:
    """The id of what a field refers to, if the copy holds it. What must not be empty gets an empty row to point to."""
    name = given.get("id") if isinstance(given, dict) else given
    if not name or not issubclass(field.related_model, tuple(KINDS.values())):
        return None
    rows = field.related_model.objects.filter(id=name)
    if field.concrete and not field.null and field.related_model is djstripe.Customer:
        rows.get_or_create(id=name)
    return str(name) if rows.exists() else None

"""Changes of contracts in force: what was asked, what the terms became, and who agreed."""

from typing import ClassVar

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from billing_project.history import tracked
from contracts.models.contracts import Contract


@tracked()
class Amendment(models.Model):
    """A dated change of a contract. One that goes beyond the guardrails waits here; the terms in force stay.

    `before` and `after` hold the columns of the contract that change, as they were and as they are agreed to be.
    """

    class Kind(models.TextChoices):
        AMEND = "amend", "Amended"
        EDIT = "edit", "Edited"
        END = "end", "Ended early"
        KEEP = "keep", "End taken back"

    class Status(models.TextChoices):
        WAITING = "waiting", "Awaiting approval"
        APPLIED = "applied", "In force"
        REJECTED = "rejected", "Rejected"

    contract = models.ForeignKey(Contract, on_delete=models.CASCADE, related_name="amendments")
    kind = models.CharField(max_length=10, choices=Kind)
    status = models.CharField(max_length=10, choices=Status)
    effective_at = models.DateTimeField(null=True, blank=True, help_text="Nothing before this instant changes.")
    changes = models.JSONField(default=dict, blank=True, help_text="What was asked for.")
    before = models.JSONField(default=dict, blank=True)
    after = models.JSONField(default=dict, blank=True)
    beyond = ArrayField(models.CharField(max_length=300), default=list, blank=True)
    reason = models.TextField(blank=True)
    request_key = models.CharField(max_length=200, blank=True, help_text="The same request twice is one change.")
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    decided_at = models.DateTimeField(null=True, blank=True)
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    note = models.TextField(blank=True, help_text="Why it was approved or rejected.")

    objects: ClassVar[models.Manager["Amendment"]]

    class Meta:
        ordering = ["-created_at", "-pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["contract", "request_key"], condition=~Q(request_key=""), name="one_amendment_per_request"
            )
        ]

    def __str__(self) -> str:
        return f"{self.contract}: {self.get_kind_display().lower()}"

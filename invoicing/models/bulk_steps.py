"""A step taken for many invoices, one after the other."""

from typing import ClassVar

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models


class BulkStep(models.Model):
    """The same step for each of `invoices`, in that order: those before `position` are done. `refusals` says what was
    not taken, as invoice and sentence.
    """

    step = models.CharField(max_length=40)
    actor = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    reason = models.TextField(blank=True)
    invoices = ArrayField(models.BigIntegerField())
    position = models.PositiveIntegerField(default=0)
    taken = models.PositiveIntegerField(default=0)
    refusals = models.JSONField(default=list)
    begun_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[models.Manager["BulkStep"]]

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"{self.step} {len(self.invoices):,} invoices"

    @property
    def left(self) -> int:
        return len(self.invoices) - self.position

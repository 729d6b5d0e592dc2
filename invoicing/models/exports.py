"""How far each export got, and the runs that took it there."""

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q


class Export(models.Model):
    """A table exported to a place in a format. `xid`: rows of transactions before it are there; it moves when the
    files of a run are complete. Transaction ids mean something on one database server only.
    """

    dataset = models.CharField(max_length=20)
    place = models.CharField(max_length=1000, help_text="A folder, or s3://bucket/prefix.")
    format = models.CharField(max_length=10)
    xid = models.BigIntegerField(default=0)
    system_identifier = models.BigIntegerField()
    meters = ArrayField(models.CharField(max_length=200), default=list, help_text="Those whose history is there.")

    objects: ClassVar[models.Manager["Export"]]

    class Meta:
        ordering = ["dataset", "place", "format"]
        constraints = [models.UniqueConstraint(fields=["dataset", "place", "format"], name="one_export_per_place")]

    def __str__(self) -> str:
        return f"{self.dataset} as {self.format} to {self.place}"


class ExportRun(models.Model):
    """The rows of transactions from `start`, before `end`. One that was killed is done again under its number."""

    export = models.ForeignKey(Export, on_delete=models.CASCADE, related_name="runs")
    number = models.PositiveIntegerField()
    start = models.BigIntegerField()
    end = models.BigIntegerField()
    from_the_beginning = models.BooleanField(default=False)
    rows = models.PositiveBigIntegerField(default=0)
    files = models.JSONField(default=list)
    left_out = models.JSONField(
        default=list, help_text="Meters and months that could not be told: the events of the month are archived."
    )
    started_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[models.Manager["ExportRun"]]

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(fields=["export", "number"], name="one_run_per_number"),
            models.UniqueConstraint(
                fields=["export"], condition=Q(finished_at=None), name="one_unfinished_run_per_export"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.export}, {self.number}"

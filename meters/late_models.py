"""Days that were over when events of theirs were counted."""

from typing import ClassVar

from django.db import models


class LateDay(models.Model):
    """A customer key and UTC day of which events were counted after the day was over. A queue: who has seen to a row
    deletes it, unless `passes` has grown since.
    """

    pk = models.CompositePrimaryKey("subject_id", "day")
    subject = models.ForeignKey(
        "meters.Subject", models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    day = models.DateTimeField()
    passes = models.BigIntegerField(default=1)

    objects: ClassVar[models.Manager["LateDay"]] = models.Manager()

    class Meta:
        db_table = "meters_lateday"

    def __str__(self) -> str:
        return f"{self.subject_id}, {self.day:%Y-%m-%d}"

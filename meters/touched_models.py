"""Which customer keys had events counted, and how far each reader of that has come."""

from typing import ClassVar

from django.db import models


class Touched(models.Model):
    """A customer key, and the last pass of the roller that counted events of it. Passes are numbered as they commit."""

    subject = models.OneToOneField(
        "meters.Subject", models.DO_NOTHING, db_constraint=False, related_name="+", primary_key=True
    )
    number = models.BigIntegerField("pass", db_index=True)
    at = models.DateTimeField()

    objects: ClassVar[models.Manager["Touched"]] = models.Manager()

    class Meta:
        db_table = "meters_touched"

    def __str__(self) -> str:
        return f"{self.subject_id}, pass {self.number}"


class TouchReader(models.Model):
    """Somebody who looks at customers after their usage changed: everything up to a pass has been seen to."""

    name = models.CharField(max_length=60, primary_key=True)
    number = models.BigIntegerField("pass", default=0)
    moved_at = models.DateTimeField(auto_now=True)

    objects: ClassVar[models.Manager["TouchReader"]] = models.Manager()

    class Meta:
        db_table = "meters_touchreader"

    def __str__(self) -> str:
        return self.name


class TouchFailure(models.Model):
    """A customer key that a reader could not see to, and when it tries again."""

    reader = models.CharField(max_length=60)
    subject = models.ForeignKey(
        "meters.Subject", models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    attempts = models.IntegerField(default=1)
    retry_at = models.DateTimeField()
    error = models.TextField()

    objects: ClassVar[models.Manager["TouchFailure"]] = models.Manager()

    class Meta:
        db_table = "meters_touchfailure"
        constraints = [models.UniqueConstraint(fields=["reader", "subject"], name="one_failure_per_reader")]

    def __str__(self) -> str:
        return f"{self.reader}, {self.subject_id}: {self.error}"

"""API keys (shown once, stored hashed, scoped, revocable), answered writes, and what became of jobs."""

import hashlib
import secrets
from typing import ClassVar

from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils import timezone

from billing_project.history import tracked


class Scope(models.TextChoices):
    INGEST = "ingest", "Send usage events"
    READ = "read", "Read"
    WRITE = "write", "Write"


def digest(secret: str) -> str:
    # The secret has 256 random bits: a slow password hash would add nothing but time to every request.
    return hashlib.sha256(secret.encode()).hexdigest()


@tracked(exclude=["digest", "last_used_at"])
class ApiKey(models.Model):
    name = models.CharField(max_length=100, help_text="Who uses it, and for what.")
    prefix = models.CharField(max_length=8, editable=False, help_text="The secret's beginning, to tell keys apart.")
    digest = models.CharField(max_length=64, unique=True, editable=False)
    scopes = ArrayField(models.CharField(max_length=10, choices=Scope.choices))
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, editable=False, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects: ClassVar[models.Manager["ApiKey"]] = models.Manager()

    class Meta:
        ordering = ["-created_at"]
        verbose_name = "API key"

    def __str__(self) -> str:
        return f"{self.name} (ch_{self.prefix}…)"

    @classmethod
    def issue(cls, name: str, scopes: list[str], created_by: User | None = None) -> tuple["ApiKey", str]:
        """A new key and its secret, which exists nowhere else."""
        key = cls(name=name, scopes=[str(scope) for scope in scopes], created_by=created_by)
        secret = key.draw_secret()
        key.full_clean()
        key.save()
        return key, secret

    def draw_secret(self) -> str:
        self.prefix = secrets.token_hex(4)
        secret = f"ch_{self.prefix}_{secrets.token_urlsafe(32)}"
        self.digest = digest(secret)
        return secret

    def revoke(self) -> bool:
        """Whether it was this call that revoked the key."""
        now = timezone.now()
        done = type(self).objects.filter(pk=self.pk, revoked_at=None).update(revoked_at=now) == 1
        if done:
            self.revoked_at = now
        return done


class AnsweredWrite(models.Model):
    """The answer to a write that came with an `Idempotency-Key`, stored in the transaction of the write itself."""

    api_key = models.ForeignKey(ApiKey, on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=255, help_text="As the caller chose it; known per API key.")
    request = models.CharField(max_length=64, help_text="SHA-256 of the method, the address and what was sent.")
    status = models.PositiveSmallIntegerField()
    body = models.TextField(help_text="The answer as JSON, byte for byte.")
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    objects: ClassVar[models.Manager["AnsweredWrite"]] = models.Manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["api_key", "key"], name="one_answer_per_idempotency_key")]

    def __str__(self) -> str:
        return self.key


class JobState(models.Model):
    """The last run of a job of the worker, wherever it ran."""

    name = models.CharField(max_length=60, primary_key=True)
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)
    succeeded_at = models.DateTimeField(null=True, blank=True)
    seconds = models.FloatField(null=True, blank=True)
    runs = models.BigIntegerField(default=0)
    failed_in_a_row = models.IntegerField(default=0)
    machine = models.CharField(max_length=200, blank=True)
    message = models.TextField(blank=True)

    objects: ClassVar[models.Manager["JobState"]] = models.Manager()

    class Meta:
        ordering = ["name"]
        verbose_name = "job"
        permissions = [("run_job", "Can run jobs now")]

    def __str__(self) -> str:
        return self.name


class JobFailure(models.Model):
    """A run of a job that failed."""

    job = models.CharField(max_length=60)
    at = models.DateTimeField(db_index=True)
    machine = models.CharField(max_length=200, blank=True)
    error = models.TextField()
    trace = models.TextField(blank=True)

    objects: ClassVar[models.Manager["JobFailure"]] = models.Manager()

    class Meta:
        ordering = ["-at", "-pk"]
        verbose_name = "failed job"

    def __str__(self) -> str:
        return f"{self.job}: {self.error}"

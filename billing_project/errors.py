"""Refusals of a rule: what people and programs are told."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: where, a stable code, and a sentence."""

    path: str
    code: str
    message: str


class RuleError(Exception):
    """A rule says no. The admin shows the sentence, the API answers with `status` and the problems."""

    status = 422

    def __init__(
        self, message: str, *, code: str = "refused", path: str = "", problems: Sequence[Problem] = ()
    ) -> None:
        super().__init__(message)
        self.message = message
        self.problems = list(problems) or [Problem(path, code, message)]


class ConflictError(RuleError):
    """Somebody was first, or the object is in another state by now."""

    status = 409

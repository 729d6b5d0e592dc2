"""Faults of deals and models as refusals of a rule, each with the path of its field."""

from collections.abc import Iterable

from django.core.exceptions import ValidationError

from billing_project.errors import Problem, RuleError
from contracts.deal_format import Fault


def refusal_of_faults(faults: Iterable[Fault]) -> RuleError:
    problems = [Problem(fault.path, fault.code, fault.message) for fault in faults]
    return RuleError("; ".join(f"{each.path}: {each.message}" for each in problems), problems=problems)


def refusal_of_model(error: ValidationError) -> RuleError:
    if not hasattr(error, "error_dict"):
        return RuleError(" ".join(error.messages))
    problems = [
        Problem("" if field == "__all__" else field, each.code or "invalid", text)
        for field, errors in error.error_dict.items()
        for each in errors
        for text in each.messages
    ]
    return RuleError(" ".join(each.message for each in problems), problems=problems)

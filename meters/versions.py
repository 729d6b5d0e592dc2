"""A meter never changes what it means: another meaning is another version, beside the one in use.

A version is a meter of its own, named after the first one: output-tokens, output-tokens-v2. It counts history like any
new meter. The earlier version goes on counting, and products keep the version they name until somebody moves them.
"""

import re
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction

from meters.definition import MEANING
from meters.models import Meter

MAX_KEY = 200
SAME = frozenset(MEANING) - {"key"}


def draft(earlier: Meter) -> Meter:
    """The next version, not stored and not changed yet. Raises ValidationError where there is one already."""
    later = Meter.objects.filter(earlier=earlier).first()
    if later is not None:
        raise ValidationError(f"{earlier.key} has a later version already: {later.key}.", code="later")
    version = earlier.version + 1
    copied = {name: getattr(earlier, name) for name in SAME}
    return Meter(**copied, name=earlier.name, key=_next_key(earlier, version), version=version, earlier=earlier)


def new_version(earlier: Meter, **changes: Any) -> Meter:
    """The next version of a meter with another meaning. Raises ValidationError by field."""
    made = draft(earlier)
    for name, value in changes.items():
        setattr(made, name, value)
    with transaction.atomic():
        made.full_clean()
        if not changed(earlier, made):
            raise ValidationError("It means the same as the version before it.", code="unchanged")
        made.save()
    return made


def changed(earlier: Meter, later: Meter) -> list[str]:
    """The parts of the meaning in which two versions differ."""
    return [name for name in MEANING if name in SAME and getattr(earlier, name) != getattr(later, name)]


def _next_key(earlier: Meter, version: int) -> str:
    stem = re.sub(rf"-v{earlier.version}$", "", earlier.key) if earlier.version > 1 else earlier.key
    suffix = f"-v{version}"
    return stem[: MAX_KEY - len(suffix)] + suffix

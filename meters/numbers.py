"""What counts as a number in an event's properties. Pure.

JSON numbers and numeric strings do; booleans, null, NaN and infinity do not. A number is written with at most 100
characters and an exponent between -100 and 100: more is a mistake, and PostgreSQL's numeric has an end somewhere.
"""

import re
from decimal import Decimal

MAX_LENGTH = 100
MAX_EXPONENT = 100

# Read by Python and by PostgreSQL alike: nothing in it means two things (no \d, which takes other scripts' digits).
TEXT_PATTERN = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?0*([0-9]{1,2}|100))?"
_TEXT = re.compile(TEXT_PATTERN)


class TooBigError(ValueError):
    """A JSON number longer than we keep."""


def parse_json_number(text: str) -> Decimal:
    """A JSON number, exactly. Raises TooBigError past the limits."""
    if len(text) > MAX_LENGTH:
        raise TooBigError(f"a number is written with at most {MAX_LENGTH} characters")
    if not ("e" in text or "E" in text) or is_numeric(text):
        return Decimal(text)
    raise TooBigError(f"the exponent of a number lies between -{MAX_EXPONENT} and {MAX_EXPONENT}")


def is_numeric(text: str) -> bool:
    """Whether a string property counts as a number."""
    return len(text) <= MAX_LENGTH and _TEXT.fullmatch(text) is not None

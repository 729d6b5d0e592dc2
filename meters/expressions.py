"""Small arithmetic over an event's properties: `input_tokens - cached_input_tokens`. Pure.

Names are dotted paths; one with other characters stands in double quotes: "usage.input-tokens". A property that is
missing counts 0; one that is no number makes the whole without a value, as does a division by zero. A quotient is
rounded half-up at 40 decimal places; everything else is exact. The result has less than 200 digits before the point,
else there is none, and is rounded half-up at 100 places behind it.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal
from functools import lru_cache

MAX_LENGTH = 500
# With these no product leaves what PostgreSQL's numeric holds.
MAX_OPERANDS = 20
MAX_DEPTH = 20
MAX_NUMBER = 50

QUOTIENT_PLACES = 40
RESULT_PLACES = 100
RESULT_BELOW = Decimal("1e200")
EXACT = Context(prec=50_000, rounding=ROUND_HALF_UP)

_TOKEN = re.compile(
    r"""\s*(?:(?P<number>\d+(?:\.\d+)?)|(?P<name>[^\W\d][\w$@]*(?:\.[\w$@]+)*)|"(?P<quoted>[^"]*)"|(?P<sign>[-+*/()]))"""
)


class ExpressionError(ValueError):
    """`position` counts characters from 1."""

    def __init__(self, position: int, message: str) -> None:
        super().__init__(f"At character {position}: {message}")
        self.position = position


@dataclass(frozen=True, slots=True)
class Number:
    value: Decimal


@dataclass(frozen=True, slots=True)
class Property:
    path: str


@dataclass(frozen=True, slots=True)
class Operation:
    sign: str
    left: "Expression"
    right: "Expression"


Expression = Number | Property | Operation


@dataclass(frozen=True, slots=True)
class _Token:
    position: int
    kind: str
    text: str

    @property
    def shown(self) -> str:
        return f'"{self.text}"' if self.kind != "end" else "the end"


@lru_cache(maxsize=1000)
def parse(text: str) -> Expression:
    """Raises ExpressionError, which names the position."""
    if len(text) > MAX_LENGTH:
        raise ExpressionError(MAX_LENGTH + 1, f"an expression has at most {MAX_LENGTH} characters.")
    return _Parser(list(_tokens(text))).parse()


def paths(expression: Expression) -> list[str]:
    """The properties it reads, each once, in order."""
    if isinstance(expression, Operation):
        return list(dict.fromkeys([*paths(expression.left), *paths(expression.right)]))
    return [expression.path] if isinstance(expression, Property) else []


def evaluate(expression: Expression, read: Callable[[str], Decimal | None]) -> Decimal | None:
    """The value for one event. `read` gives 0 for a property that is missing, None for one that is no number."""
    found = _evaluate(expression, read)
    if found is None or found.copy_abs() >= RESULT_BELOW:
        return None
    return found.quantize(Decimal(1).scaleb(-RESULT_PLACES), context=EXACT)


def _evaluate(expression: Expression, read: Callable[[str], Decimal | None]) -> Decimal | None:
    if isinstance(expression, Number):
        return expression.value
    if isinstance(expression, Property):
        return read(expression.path)
    left, right = _evaluate(expression.left, read), _evaluate(expression.right, read)
    if left is None or right is None:
        return None
    match expression.sign:
        case "+":
            return EXACT.add(left, right)
        case "-":
            return EXACT.subtract(left, right)
        case "*":
            return EXACT.multiply(left, right)
    return _divide(left, right)


def _divide(left: Decimal, right: Decimal) -> Decimal | None:
    if not right:
        return None
    # abs() would round to the caller's context.
    above, below = left.copy_abs().scaleb(QUOTIENT_PLACES, EXACT), right.copy_abs()
    doubled = EXACT.add(EXACT.multiply(Decimal(2), above), below)
    size = EXACT.divide_int(doubled, EXACT.multiply(Decimal(2), below)).scaleb(-QUOTIENT_PLACES, EXACT)
    return size if left.is_signed() == right.is_signed() else EXACT.minus(size)


def _tokens(text: str) -> Iterator[_Token]:
    at, end = 0, len(text.rstrip())
    while at < end:
        found = _TOKEN.match(text, at)
        if found is None or found.lastgroup is None:
            place = at + len(text[at:]) - len(text[at:].lstrip())
            raise ExpressionError(place + 1, f'"{text[place]}" has no meaning here: use names, numbers, + - * / ( ).')
        kind = found.lastgroup
        yield _Token(found.start(kind) + 1, kind, found[kind])
        at = found.end()
    yield _Token(end + 1, "end", "")


class _Parser:
    """By recursive descent; `*` and `/` bind closer, equals go from left to right."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0
        self._operands = 0

    def parse(self) -> Expression:
        found = self._sum()
        if self._next.kind != "end":
            raise ExpressionError(self._next.position, f"{self._next.shown} where + - * / or the end should stand.")
        return found

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _taken(self, signs: str) -> str:
        """The next token's sign, gone past, if it is one of these."""
        token = self._next
        if token.kind != "sign" or token.text not in signs:
            return ""
        self._at += 1
        return token.text

    def _sum(self) -> Expression:
        found = self._product()
        while sign := self._taken("+-"):
            found = Operation(sign, found, self._product())
        return found

    def _product(self) -> Expression:
        found = self._operand()
        while sign := self._taken("*/"):
            found = Operation(sign, found, self._operand())
        return found

    def _operand(self) -> Expression:
        opening = self._next
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ExpressionError(opening.position, f"nested deeper than {MAX_DEPTH} levels.")
        if self._taken("-"):
            found: Expression = Operation("-", Number(Decimal(0)), self._operand())
        elif self._taken("("):
            found = self._sum()
            if not self._taken(")"):
                raise ExpressionError(self._next.position, f'{self._next.shown} where ")" should stand.')
        else:
            found = self._single()
        self._depth -= 1
        return found

    def _single(self) -> Expression:
        token = self._next
        if token.kind in {"sign", "end"}:
            raise ExpressionError(token.position, f'{token.shown} where a name, a number or "(" should stand.')
        self._at += 1
        self._operands += 1
        if self._operands > MAX_OPERANDS:
            raise ExpressionError(token.position, f"more than {MAX_OPERANDS} names and numbers.")
        if token.kind != "number":
            return Property(token.text)
        if len(token.text) > MAX_NUMBER:
            raise ExpressionError(token.position, f"a number has at most {MAX_NUMBER} characters.")
        return Number(Decimal(token.text))

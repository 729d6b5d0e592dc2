"""Documents people write (prices, contracts): read into structs, written back, refused by the path of a field.

Pure. A document is a frozen struct; the same definition reads files and forms, gives the JSON Schema and is what the
engine works on. Numbers are strings, integers or Decimals: a binary float has lost digits before it gets here.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import Any, ClassVar, TypeVar

import msgspec

from billing_project.decimals import plain

T = TypeVar("T")
# Decimal exponents beyond these are typing errors; sums of them would be slow, or more than an invoice can hold.
LARGEST, SMALLEST = 24, -60
# Beyond them local times and calendars end.
YEARS = range(1970, 3000)
PLACE = re.compile(r" - at `\$\.?(?P<path>.*)`$", re.DOTALL)
ANY_KEY = "[...]"
STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")
NAMED = re.compile(r"Object (?:missing required|contains unknown) field `(?P<field>.*)`$", re.DOTALL)
FIELD = re.compile(r"(?P<field>[a-z_]+(\[\d+\])?(\.[a-z_]+)?): (?P<message>.*)$", re.DOTALL)


class DocumentError(ValueError):
    """A document that cannot be read: `path` names the field (`tiers[1].up_to`), `code` the kind of fault."""

    def __init__(self, path: str, message: str, code: str = "invalid") -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.path = path
        self.code = code
        self.message = message


class Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part of a document. Its numbers are finite and not negative; those named in `above_zero` are above zero."""

    above_zero: ClassVar[frozenset[str]] = frozenset()
    whole: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, Decimal):
                self._check_number(name, value)
            elif isinstance(value, datetime) and value.year not in YEARS:
                raise ValueError(f"{name}: is {value.isoformat()}; years from {YEARS[0]} to {YEARS[-1]} can be agreed")
        self.check()

    def check(self) -> None:
        """Rules between fields: raise ValueError starting with the field's name and a colon."""

    def _check_number(self, name: str, value: Decimal) -> None:
        if not value.is_finite() or not SMALLEST <= value.adjusted() < LARGEST:
            raise ValueError(
                f"{name}: is '{value}'; a finite number below 1e{LARGEST} is needed, with at most 60 places"
            )
        if value < 0 or (not value and name in self.above_zero):
            needed = "be above zero" if name in self.above_zero else "not be negative"
            raise ValueError(f"{name}: is '{plain(value)}'; must {needed}")
        if name in self.whole and value != value.to_integral_value():
            raise ValueError(f"{name}: is '{plain(value)}'; must be a whole number")


def read(kind: Any, written: object, path: str = "") -> Any:
    """Read a document of a struct type (or union). Raises DocumentError at the first fault."""
    for place, value in _numbers(written, path):
        raise DocumentError(place, f'is {value!r}; write the number as text, such as "0.002"', "number")
    try:
        return msgspec.convert(written, kind)
    except msgspec.ValidationError as error:
        raise _located(_with_key(str(error), kind, written), path) from error
    except ArithmeticError as error:  # a Decimal that msgspec lets through to arithmetic: NaN
        raise DocumentError(path, "holds something that is not a finite number", "number") from error


def write(document: Any) -> Any:
    """The document as plain lists, objects and texts, defaults left out; `read` gives the same document back."""
    match document:
        case msgspec.Struct():
            return _write_struct(document)
        case Mapping():
            return {key: write(value) for key, value in document.items()}
        case list() | tuple():
            return [write(each) for each in document]
        case Decimal():
            return plain(document)
        case datetime():
            return document.astimezone(UTC).isoformat()
        case _:
            return document


def written_out(written: Any) -> str:
    """A document as `write` gives it, as the text of a file."""
    return msgspec.json.encode(written).decode()


# Looking at a struct's annotations costs more than writing it.
_fields = cache(msgspec.structs.fields)


def _write_struct(document: msgspec.Struct) -> dict[str, Any]:
    config = document.__struct_config__
    written: dict[str, Any] = {str(config.tag_field): config.tag} if config.tag is not None else {}
    for field in _fields(type(document)):
        value = getattr(document, field.name)
        default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
        if value != default or default is msgspec.NODEFAULT:
            written[field.encode_name] = write(value)
    return written


def _numbers(written: object, path: str) -> Iterator[tuple[str, object]]:
    """Every binary float in a document, and texts that spell one no amount can be."""
    if isinstance(written, Mapping):
        for key, value in written.items():
            yield from _numbers(value, f"{path}.{key}" if path else str(key))
    elif isinstance(written, list | tuple):
        for index, value in enumerate(written):
            yield from _numbers(value, f"{path}[{index}]")
    elif not isinstance(written, str | int | Decimal | datetime | None):
        yield path, written


def _with_key(text: str, kind: Any, written: object) -> str:
    """The same error with the key that is at fault, where msgspec only says that one of an object's is."""
    place = PLACE.search(text)
    if place is None or ANY_KEY not in place["path"]:
        return text
    before, _, after = place["path"].partition(ANY_KEY)
    holder = written
    for name, index in STEP.findall(before):
        holder = holder[name] if name else holder[int(index)]  # type: ignore[index]
    for key in list(holder):  # type: ignore[call-overload]
        try:
            msgspec.convert(_only(written, before, key), kind)
        except msgspec.ValidationError as error:
            if str(error) == text:
                return text[: place.start("path")] + f"{before}.{key}{after}" + text[place.end("path") :]
    return text


def _only(written: Any, before: str, key: str) -> Any:
    """A document with one key alone in the object at a path."""
    steps = [name or int(index) for name, index in STEP.findall(before)]

    def without(part: Any, rest: list[str | int]) -> Any:
        if not rest:
            return {key: part[key]}
        changed = without(part[rest[0]], rest[1:])
        if isinstance(part, Mapping):
            return {**part, rest[0]: changed}
        return [changed if index == rest[0] else each for index, each in enumerate(part)]

    return without(written, steps)


def _located(text: str, path: str) -> DocumentError:
    """A msgspec error as ours: the path of the field, a code, and a sentence."""
    place = PLACE.search(text)
    if place:
        text = text[: place.start()]
        path = _joined(path, place["path"])
    named, field = NAMED.match(text), FIELD.match(text)
    if named:
        missing = "missing" in text
        message = "is missing" if missing else "is not a field here"
        return DocumentError(_joined(path, named["field"]), message, "missing" if missing else "unknown_field")
    if field:
        return DocumentError(_joined(path, field["field"]), field["message"])
    return DocumentError(path, text[:1].lower() + text[1:], "type" if text.startswith("Expected") else "value")


def _joined(path: str, rest: str) -> str:
    return f"{path}{rest}" if not path or not rest or rest.startswith("[") else f"{path}.{rest}"

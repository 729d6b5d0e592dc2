"""JSON read exactly: numbers to the digit, repeated keys seen, what a jsonb column cannot hold refused. Pure."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, TypeAlias

import msgspec

from meters.numbers import TooBigError, parse_json_number

MAX_DEPTH = 32
MAX_KEY_LENGTH = 256
Element: TypeAlias = tuple[object, str]
Elements: TypeAlias = Iterator[Element]

encode = msgspec.json.Encoder(decimal_format="number").encode


class MalformedError(ValueError):
    """The body as a whole cannot be read. `path` names the field at fault, if there is one."""

    def __init__(self, code: str, message: str, path: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.path = path


class RefusedError(ValueError):
    """One event is not taken."""

    def __init__(self, path: str, code: str, message: str) -> None:
        super().__init__(message)
        self.path = path
        self.code = code
        self.message = message


class _Bad:
    """Stands in a decoded value where the JSON held something we refuse, until its path is known."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        self.message = message


class _RepeatedKeys(dict[str, Any]):
    repeated: str


def _number(text: str) -> Decimal | _Bad:
    try:
        return parse_json_number(text)
    except TooBigError as error:
        return _Bad("number_too_big", f"The number is too big: {error}.")


def _constant(text: str) -> _Bad:
    return _Bad("not_a_number", f"{text} is not a number of JSON.")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    marked = _RepeatedKeys(found)
    times = Counter(key for key, _ in pairs)
    marked.repeated = next(key for key, _ in pairs if times[key] > 1)
    return marked


_decoder = json.JSONDecoder(parse_float=_number, parse_int=_number, parse_constant=_constant, object_pairs_hook=_object)
_stored_decoder = json.JSONDecoder(parse_float=Decimal, parse_int=Decimal)
_space = re.compile(r"[ \t\r\n]*")


def parse(text: str) -> Any:
    """JSON with its numbers to the digit; what we refuse stands in it as such, for `check` to find."""
    return _decoder.decode(text)


def parse_stored(text: str) -> Any:
    """JSON that was taken before, with its numbers to the digit. The database writes `1e100` with all its digits, so
    the limits of what comes in do not hold.
    """
    return _stored_decoder.decode(text)


def split(body: bytes, most: int) -> Elements:
    """The elements of a JSON array, or the one object, decoded, each with its own text. Raises MalformedError.

    Everything is read before the first element is given out: a body broken at its end is broken as a whole.
    """
    yield from _read(body, lambda whole: _elements(whole, most))


def split_member(body: bytes, name: str, most: int, *, many: bool = True) -> Elements:
    """The same for a body like `{"events": [...]}`: the elements of the array under a name, or the one value there."""
    yield from _read(body, lambda whole: _member(whole, name, most, many))


def _read(body: bytes, elements: Callable[[str], list[Element]]) -> list[Element]:
    if not body.strip(b" \t\r\n"):
        raise MalformedError("malformed_json", "The body is empty: send JSON.")
    try:
        return elements(body.decode())
    except UnicodeDecodeError as error:
        raise MalformedError("not_utf8", f"The body is not UTF-8 (at byte {error.start}).") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise MalformedError("malformed_json", f"The body is not JSON: {error.msg} ({place}).") from None
    except RecursionError:
        raise MalformedError("too_deep", f"The JSON is nested deeper than {MAX_DEPTH} levels.") from None


def _elements(whole: str, most: int) -> list[Element]:
    at = _skip(whole, 0)
    found, end = _array(whole, at, most) if whole[at : at + 1] == "[" else _one(whole, at)
    if len(found) < most:
        _expect(whole, end, "")
    return found


def _one(whole: str, at: int) -> tuple[list[Element], int]:
    value, end = _decoder.raw_decode(whole, at)
    return [(value, whole[at:end])], end


def _array(whole: str, at: int, most: int) -> tuple[list[Element], int]:
    """The elements of the array that begins here, at most so many, and the place after the last one read."""
    found: list[Element] = []
    at = _skip(whole, at + 1)
    if whole[at : at + 1] == "]":
        return found, at + 1
    while len(found) < most:
        value, end = _decoder.raw_decode(whole, at)
        found.append((value, whole[at:end]))
        at = _skip(whole, end)
        if whole[at : at + 1] == "]":
            return found, at + 1
        at = _skip(whole, _expect(whole, at, ","))
    return found, at


def _member(whole: str, name: str, most: int, many: bool) -> list[Element]:
    """The elements under a name of the object, which is read to its end unless it holds too many."""
    found: list[Element] | None = None
    shape = f'{{"{name}": {"[...]" if many else "{...}"}}}'
    at = _begin(whole, name, shape)
    before = _skip(whole, at)
    sign = "}" if whole[before : before + 1] == "}" else ""
    while not sign:
        key, at = _key(whole, at)
        if key != name:
            _, at = _decoder.raw_decode(whole, at)
        elif found is not None:
            raise MalformedError("repeated_key", f"The key `{name}` appears twice.", name)
        else:
            found, at = _named(whole, at, name, most if many else None)
            if len(found) == most:
                return found
        at = _skip(whole, at)
        sign = "}" if whole[at : at + 1] == "}" else ""
        at = at if sign else _expect(whole, at, ",")
    _expect(whole, _expect(whole, at, sign), "")
    if found is None:
        raise MalformedError("required", f"`{name}` is missing: send {shape}.", name)
    return found


def _begin(whole: str, name: str, shape: str) -> int:
    """The place after the brace that opens the object. Raises MalformedError for JSON of another shape."""
    at = _skip(whole, 0)
    if whole[at : at + 1] == "{":
        return at + 1
    value, _ = _decoder.raw_decode(whole, at)
    raise MalformedError("not_an_object", f"The body is {kind_of(value)}, not an object: send {shape}.", name)


def _key(whole: str, at: int) -> tuple[str, int]:
    """The key of a member, and where its value begins."""
    at = _skip(whole, at)
    _expect(whole, at, '"')
    key, at = _decoder.raw_decode(whole, at)
    return str(key), _skip(whole, _expect(whole, at, ":"))


def _named(whole: str, at: int, name: str, most: int | None) -> tuple[list[Element], int]:
    if most is None:
        return _one(whole, at)
    if whole[at : at + 1] != "[":
        value, _ = _decoder.raw_decode(whole, at)
        raise MalformedError(
            "not_an_array", f'`{name}` is {kind_of(value)}: send an array of events, {{"{name}": [...]}}.', name
        )
    return _array(whole, at, most)


def _skip(whole: str, at: int) -> int:
    match = _space.match(whole, at)
    return match.end() if match else at


def _expect(whole: str, at: int, sign: str) -> int:
    """The place after the sign; no sign stands for the end of the text."""
    at = _skip(whole, at)
    if (sign and whole[at : at + 1] != sign) or (not sign and at < len(whole)):
        raise json.JSONDecodeError(f"Expecting '{sign}'" if sign else "Extra data", whole, at)
    return at + len(sign)


def kind_of(value: object) -> str:
    """What a decoded value is, in the words of JSON."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    kinds = {dict: "an object", list: "an array", str: "text"}
    return next((name for kind, name in kinds.items() if isinstance(value, kind)), "a number")


def not_an_object(value: object) -> RefusedError:
    return RefusedError("", "not_an_object", f"An event is a JSON object, {{...}}; this is {kind_of(value)}.")


def check(value: object, path: str, depth: int = 0) -> None:
    """Raise RefusedError for what cannot be stored or would not come back the same."""
    if isinstance(value, dict):
        _check_object(value, path, depth)
    elif isinstance(value, list):
        _check_depth(path, depth)
        for index, inner in enumerate(value):
            check(inner, f"{path}[{index}]", depth + 1)
    elif isinstance(value, str):
        _check_text(value, path)
    elif isinstance(value, _Bad):
        raise RefusedError(path, value.code, value.message)
    elif isinstance(value, float):
        raise RefusedError(path, "binary_float", "Numbers are exact: give a Decimal, an integer or text.")
    elif isinstance(value, Decimal) and not value.is_finite():
        raise RefusedError(path, "not_a_number", f"{value} is not a number of JSON.")


def _check_object(value: dict[str, Any], path: str, depth: int) -> None:
    _check_depth(path, depth)
    if isinstance(value, _RepeatedKeys):
        _check_text(value.repeated, path)
        raise RefusedError(_join(path, value.repeated), "repeated_key", f"The key `{value.repeated}` appears twice.")
    for key, inner in value.items():
        if len(key) > MAX_KEY_LENGTH:
            message = f"A key has at most {MAX_KEY_LENGTH} characters; this one has {len(key):,}."
            raise RefusedError(_join(path, key[:20] + "…"), "key_too_long", message)
        _check_text(key, path)
        check(inner, _join(path, key), depth + 1)


def _check_depth(path: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        outer = path.partition(".")[0].partition("[")[0]
        raise RefusedError(outer, "too_deep", f"The event is nested deeper than {MAX_DEPTH} levels.")


def _check_text(value: str, path: str) -> None:
    if "\0" in value:
        raise RefusedError(path, "null_character", "Text cannot hold the character U+0000.")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise RefusedError(path, "lone_surrogate", "The text holds half of a surrogate pair.") from None


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def text(raw: dict[str, Any], name: str, most: int, *, required: bool = True) -> str:
    """The text attribute of a checked event. Raises RefusedError."""
    given = raw.get(name)
    if given is None and not required:
        return ""
    if given is None:
        raise RefusedError(name, "required", f"`{name}` is missing.")
    if not isinstance(given, str):
        raise RefusedError(name, "not_text", f"`{name}` is {kind_of(given)}: send text.")
    if required and not given.strip():
        raise RefusedError(name, "blank", f"`{name}` is empty.")
    if len(given) > most:
        raise RefusedError(name, "too_long", f"`{name}` has at most {most} characters; this one has {len(given):,}.")
    return given

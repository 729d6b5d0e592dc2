"""YAML and JSON without loss: numbers to the digit, instants as text, nothing said twice.

Only plain values come out: objects with text keys, lists, text, whole numbers, Decimals, true, false and null. YAML is
read by the rules of its version 1.2: `no` and `12:30` are text.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from contracts.deal_format import Fault
from invoicing.billing_file.faults import FileError, joined

TAG = "tag:yaml.org,2002:"
NULL = re.compile(r"(?:~|null|Null|NULL|)\Z")
BOOLEAN = re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z")
WHOLE = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,99})\Z")
FRACTION = re.compile(r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]{1,9})?\Z")
MERGE = "<<"  # of version 1.1, but written by many: the keys of another object, unless they are given here
QUOTED = ("'", '"')
MOST_COPIES = 1_000_000  # of aliases: a handful of them can stand for more than memory holds
TOO_DEEP = Fault("", "too_deep", "the file is nested too deep")


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    yaml_implicit_resolvers: dict[str, Any] = {}


for kind, pattern, first in (
    ("null", NULL, ["~", "n", "N", ""]),
    ("bool", BOOLEAN, list("tTfF")),
    ("int", WHOLE, list("-+0123456789")),
    ("float", FRACTION, list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(TAG + kind, pattern, first)


@dataclass(frozen=True, slots=True)
class Written:
    """One document of a file, or one scenario of its list: what it holds, or why it cannot be read."""

    value: Any = None
    faults: tuple[Fault, ...] = ()


def read_documents(path: Path) -> list[Written]:
    """The documents of a file, in order; those after one that cannot be read are lost."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        return [_unreadable(f"{path} cannot be opened: {error.strerror}")]
    except UnicodeDecodeError as error:
        return [_unreadable(f"the file is not UTF-8 (at byte {error.start})")]
    found = _json(text) if path.suffix.lower() == ".json" else list(_yaml(text))
    return found or [Written(faults=(Fault("", "empty", "the file is empty"),))]


def read_one(path: Path) -> Any:
    """The document of a file that holds one. Raises FileError."""
    documents = read_documents(path)
    for document in documents:
        if document.faults:
            raise FileError(document.faults)
        for part in document.value if isinstance(document.value, list) else ():
            if isinstance(part, Written):
                raise FileError(part.faults)
    if len(documents) > 1:
        raise FileError([Fault("", "documents", f"the file holds {len(documents)} documents, apply takes one")])
    return documents[0].value


def read_json(text: str) -> Written:
    """The value of a JSON text."""
    return _json(text)[0]


def _unreadable(message: str) -> Written:
    return Written(faults=(Fault("", "unreadable", message),))


def _json(text: str) -> list[Written]:
    try:
        value = json.loads(
            text, parse_float=Decimal, parse_int=_whole, parse_constant=_constant, object_pairs_hook=_Pairs
        )
        if isinstance(value, list) and not isinstance(value, _Pairs):
            return [Written([_apart(_from_json, part) for part in value])]
        return [Written(_from_json(value, ""))]
    except json.JSONDecodeError as error:
        return [_unreadable(f"this is not JSON: {error.msg} (line {error.lineno}, column {error.colno})")]
    except FileError as error:
        return [Written(faults=error.faults)]
    except RecursionError:
        return [Written(faults=(TOO_DEEP,))]


class _Pairs(list[tuple[str, Any]]):
    """The members of a JSON object in the order written, those said twice too."""


def _constant(text: str) -> Any:
    raise FileError([Fault("", "number", f"{text} is not a number of JSON")])


def _whole(text: str) -> int | str:
    return int(text) if WHOLE.match(text) else text


def _from_json(value: Any, path: str) -> Any:
    if isinstance(value, _Pairs):
        found: dict[str, Any] = {}
        for key, inner in value:
            _member(found, key, _from_json(inner, joined(path, key)), path)
        return found
    if isinstance(value, list):
        return [_from_json(each, f"{path}[{index}]") for index, each in enumerate(value)]
    return _text(value, path) if isinstance(value, str) else value


def _apart(build: Callable[[Any, str], Any], part: Any) -> Any:
    """One scenario of a list, or why it cannot be read: the others still can."""
    try:
        return build(part, "")
    except FileError as error:
        return Written(faults=error.faults)


def _yaml(text: str) -> Iterator[Written]:
    loader: Any = None
    try:
        loader = _Loader(text)
        while loader.check_node():
            value = _Built().document(loader.get_node())
            if value is not None:
                yield Written(value)
    except FileError as error:
        yield Written(faults=error.faults)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        yield _unreadable(f"this is not YAML: {error.problem}{place}")
    except yaml.YAMLError as error:
        yield _unreadable(f"this is not YAML: {' '.join(str(error).split())}")
    except RecursionError:
        yield Written(faults=(TOO_DEEP,))
    finally:
        if loader is not None:
            loader.dispose()


class _Built:
    """The value of a document. What an alias names is built once; a copy of it counts by its size."""

    def __init__(self) -> None:
        self._done: dict[int, tuple[Any, int]] = {}
        self._open: set[int] = set()
        self._copied = 0

    def of(self, node: Any, path: str) -> Any:
        return self._sized(node, path)[0]

    def document(self, node: Any) -> Any:
        if not isinstance(node, yaml.SequenceNode) or node.tag != TAG + "seq":
            return self.of(node, "")
        return [_apart(self.of, part) for part in node.value]

    def _sized(self, node: Any, path: str) -> tuple[Any, int]:
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node, path), 1
        done = self._done.get(id(node))
        if done is not None:
            self._copied += done[1]
            if self._copied > MOST_COPIES:
                raise FileError([Fault(path, "aliases", "the file's aliases stand for too much")])
            return done
        if id(node) in self._open:
            raise FileError([Fault(path, "aliases", "holds an alias of itself")])
        self._open.add(id(node))
        built = self._mapping(node, path) if isinstance(node, yaml.MappingNode) else self._sequence(node, path)
        self._open.discard(id(node))
        self._done[id(node)] = built
        return built

    def _mapping(self, node: Any, path: str) -> tuple[dict[str, Any], int]:
        _expect_tag(node, "map", path)
        found: dict[str, Any] = {}
        total = 1
        merged: list[Any] = []
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise FileError([Fault(path, "key", f"a key is text (line {key_node.start_mark.line + 1})")])
            value, size = self._sized(value_node, joined(path, key_node.value))
            total += size
            if key_node.value == MERGE and key_node.style not in QUOTED:
                merged += _merged(value, joined(path, MERGE))
            else:
                _member(found, key_node.value, value, path)
        for each in merged:
            found = {**each, **found}
        return found, total

    def _sequence(self, node: Any, path: str) -> tuple[list[Any], int]:
        _expect_tag(node, "seq", path)
        parts = [self._sized(each, f"{path}[{index}]") for index, each in enumerate(node.value)]
        return [value for value, _ in parts], 1 + sum(size for _, size in parts)


def _merged(value: Any, path: str) -> list[dict[str, Any]]:
    """What `<<` takes over: an object, or several of which the first counts."""
    parts = value if isinstance(value, list) else [value]
    if not all(isinstance(each, dict) for each in parts):
        raise FileError([Fault(path, "type", "takes over the keys of an object, or of a list of them")])
    return parts


def _expect_tag(node: Any, kind: str, path: str) -> None:
    if node.tag != TAG + kind:
        raise FileError([Fault(path, "tag", f"the tag {node.tag} is not read")])


def _scalar(node: Any, path: str) -> Any:
    text, kind = node.value, node.tag.removeprefix(TAG)
    if kind == "str":
        return _text(text, path)
    if kind == "null" and NULL.match(text):
        return None
    if kind == "bool" and BOOLEAN.match(text):
        return text.lower() == "true"
    if kind == "int" and WHOLE.match(text):
        return int(text)
    if kind == "float" and FRACTION.match(text):
        return Decimal(text)
    raise FileError([Fault(path, "tag", f"{text[:40]!r} with the tag {node.tag} is not read")])


def _member(found: dict[str, Any], key: str, value: Any, path: str) -> None:
    if key in found:
        raise FileError([Fault(joined(path, key), "repeated", "is given twice")])
    found[_text(key, path)] = value


def _text(text: str, path: str) -> str:
    """Text that the database can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise FileError([Fault(path, "text", "holds half of a surrogate pair")]) from None
    if "\0" in text:
        raise FileError([Fault(path, "text", "holds the character U+0000")])
    return text


def split_scenarios(document: object) -> list[Any]:
    """The scenarios of a document: itself, the list it is, or its `scenarios`."""
    if isinstance(document, list):
        return document
    if isinstance(document, Mapping) and set(document) == {"scenarios"} and isinstance(document["scenarios"], list):
        return document["scenarios"]
    return [document]

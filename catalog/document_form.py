"""Documents as forms: what a screen needs to know to show, edit and check the shape of a struct. Pure.

The description is made from the same structs that read the document, and adds only words: labels, help, what to
suggest, when a field applies. `catalog/document.js` draws it. What is right or wrong is said by the reader, by path.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import msgspec
from msgspec import inspect

from billing_project.decimals import plain


@dataclass(frozen=True, slots=True)
class Word:
    """How people call a field. `suggest` names a list to choose from; `shown_if` names fields and the values that make
    this one apply, `only_known` that it does so only when there is something to suggest; `options` are the labels of
    choices, in their order (a text with options is a choice too); `unsaid` is what holds where a part is not written.
    """

    label: str
    help: str = ""
    placeholder: str = ""
    suggest: str = ""
    only_known: bool = False
    unsaid: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    shown_if: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


# By name of a struct, then of a field, in the order of the form; the empty field is the struct itself. A base's words
# hold for the structs made of it, after their own.
Words = Mapping[str, Mapping[str, Word]]


def describe(kind: Any, words: Words) -> dict[str, Any]:
    """The types a document is made of, by name, starting at `root`."""
    types: dict[str, Any] = {}
    root = _kind(inspect.type_info(kind), words, types)["type"]
    return {"root": root, "types": types}


def _add(struct: inspect.StructType, words: Words, types: dict[str, Any]) -> str:
    name = struct.cls.__name__
    if name not in types:
        own = _word(struct.cls, "", words)
        types[name] = {"label": own.label, "help": own.help, "tag_field": struct.tag_field, "tag": struct.tag}
        types[name]["fields"] = [
            _field(struct.cls, each, words, types) for each in sorted(struct.fields, key=_order(struct.cls, words))
        ]
    return name


def _order(cls: type, words: Words) -> Callable[[inspect.Field], int]:
    named = list(dict.fromkeys(name for base in cls.__mro__ for name in words.get(base.__name__, {})))
    return lambda each: named.index(each.name) if each.name in named else len(named)


def _field(cls: type, each: inspect.Field, words: Words, types: dict[str, Any]) -> dict[str, Any]:
    word = _word(cls, each.name, words)
    inner, optional = _without_none(each.type)
    shown = {
        "name": each.encode_name,
        "label": word.label,
        "help": word.help,
        "required": each.required,
        "placeholder": word.placeholder or _text_of(each.default),
        "suggest": word.suggest,
        "only_known": word.only_known,
        "shown_if": {name: list(values) for name, values in word.shown_if.items()},
        **_kind(inner, words, types),
    }
    if shown["kind"] == "text" and word.options:
        shown["kind"] = "choice"
    if shown["kind"] == "choice":
        shown["options"] = [*([["", word.options.get("", "–")]] if optional else []), *_options(inner, word)]
    if shown["kind"] in ("choice", "flag"):
        shown["default"] = _plain(each.default)
    if shown["kind"] == "part":
        shown |= {"optional": optional, "unsaid": word.unsaid or "everything"}
    return shown


def _kind(of: inspect.Type, words: Words, types: dict[str, Any]) -> dict[str, Any]:
    while isinstance(of, inspect.Metadata):
        of = of.type
    match of:
        case inspect.StructType():
            return {"kind": "part", "type": _add(of, words, types)}
        case inspect.UnionType() if all(isinstance(each, inspect.StructType) for each in of.types):
            return {"kind": "part", "type": _variants(of, words, types)}
        case inspect.VarTupleType(item_type=inner) if _kind(inner, words, types)["kind"] == "part":
            return {"kind": "rows", "type": _kind(inner, words, types)["type"]}
        case inspect.VarTupleType():
            return {"kind": "names"}
        case inspect.DictType(value_type=inspect.VarTupleType()):
            return {"kind": "lists"}
        case inspect.DictType():
            return {"kind": "values"}
        case _:
            return {"kind": SCALARS.get(type(of), "scalar")}


SCALARS: dict[type, str] = {
    inspect.StrType: "text",
    inspect.DecimalType: "number",
    inspect.IntType: "whole",
    inspect.BoolType: "flag",
    inspect.LiteralType: "choice",
    inspect.DateTimeType: "instant",
}


def _variants(union: inspect.UnionType, words: Words, types: dict[str, Any]) -> str:
    structs = [each for each in union.types if isinstance(each, inspect.StructType)]
    name = "|".join(each.cls.__name__ for each in structs)
    if name not in types:
        types[name] = {
            "tag_field": structs[0].tag_field,
            "variants": {str(each.tag): _add(each, words, types) for each in structs},
        }
    return name


def _without_none(of: inspect.Type) -> tuple[inspect.Type, bool]:
    while isinstance(of, inspect.Metadata):
        of = of.type
    if not isinstance(of, inspect.UnionType) or not any(isinstance(each, inspect.NoneType) for each in of.types):
        return of, False
    rest = tuple(each for each in of.types if not isinstance(each, inspect.NoneType))
    return (rest[0] if len(rest) == 1 else inspect.UnionType(rest)), True


def _options(of: inspect.Type, word: Word) -> Iterator[list[str]]:
    while isinstance(of, inspect.Metadata):
        of = of.type
    known = [str(value) for value in of.values] if isinstance(of, inspect.LiteralType) else [*word.options]
    for value in sorted(known, key=lambda each: _place(each, word)):
        yield [value, word.options.get(value) or value.replace("_", " ").capitalize()]


def _place(value: str, word: Word) -> int:
    named = list(word.options)
    return named.index(value) if value in named else len(named)


def _word(cls: type, name: str, words: Words) -> Word:
    for base in cls.__mro__:
        found = words.get(base.__name__, {}).get(name)
        if found:
            return found
    return Word((name or cls.__name__).replace("_", " ").capitalize())


def _plain(default: Any) -> Any:
    return None if default is msgspec.NODEFAULT else default


def _text_of(default: Any) -> str:
    if isinstance(default, bool):
        return ""
    return plain(default) if isinstance(default, Decimal) else str(default) if isinstance(default, int) else ""


def place_text(form: Mapping[str, Any], path: str) -> str:
    """Where in a document, as its form calls it: `overrides[1].price.tiers[0].up_to` is price overrides 2, price,
    tiers 1, up to. A row may be named by its key instead of its place.
    """
    words, types, kinds = [], form["types"], [form["root"]]
    for name, number in re.findall(r"([^.\[\]]+)(?:\[([^\]]*)])?", path):
        found = [field for kind in kinds for field in _fields_of(types, kind) if field["name"] == name]
        label = found[0]["label"] if found else name
        words.append(f"{label} {int(number) + 1 if number.isdecimal() else number}" if number else label)
        kinds = [field["type"] for field in found if "type" in field]
    first, rest = words[:1], [word[:1].lower() + word[1:] for word in words[1:]]
    return ", ".join([*first, *rest])


def _fields_of(types: Mapping[str, Any], kind: str) -> Iterator[Mapping[str, Any]]:
    for name in types[kind].get("variants", {"": kind}).values():
        yield from types[name]["fields"]

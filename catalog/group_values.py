"""Group values: which value each group key has, as rates and lines name them. Pure.

A group is a mapping of key to value, both text: `{"model": "gpt-4o"}`. A value of None means that the event had none.
"""

import json
from collections.abc import Iterable, Mapping

Group = tuple[tuple[str, str | None], ...]


def parse_group(written: object) -> dict[str, str]:
    """Read group values as people write them. Raises ValueError naming the key at fault."""
    if not isinstance(written, Mapping):
        raise ValueError('Write group values as an object: {"model": "gpt-4o"}.')
    group = {}
    for key, value in written.items():
        if isinstance(value, bool):
            value = "true" if value else "false"
        if not isinstance(value, str | int):
            raise ValueError(f"{key}: a group value is text, not {value!r}.")
        group[str(key)] = str(value)
    return group


def read_group(text: str) -> dict[str, str]:
    """Read group values as people type them: `model=gpt-4o, region=eu`, or as JSON. Raises ValueError."""
    text = text.strip()
    if text.startswith("{"):
        try:
            return parse_group(json.loads(text))
        except json.JSONDecodeError as error:
            raise ValueError(f"This is not JSON: {error.msg}.") from error
    group: dict[str, str] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        key, equals, value = (word.strip() for word in part.partition("="))
        if not (key and equals and value):
            raise ValueError(f'Write key=value, separated by commas: model=gpt-4o, region=eu (not "{part}").')
        if key in group:
            raise ValueError(f"{key} is given twice.")
        group[key] = value
    return group


def group_text(group: Mapping[str, str | None]) -> str:
    """Group values as `read_group` reads them; a value that is None is written as a dash."""
    text = ", ".join(f"{key}={'–' if value is None else value}" for key, value in group.items())
    simple = all(value is None or ("," not in value and value == value.strip() != "") for value in group.values())
    return text if simple else json.dumps(dict(group), ensure_ascii=False)


def group_key(group: Mapping[str, str | None] | Iterable[tuple[str, str | None]]) -> str:
    """One text per group, the same whatever the order of its keys; empty for no keys."""
    if not group:
        return ""
    values = dict(group)
    return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False) if values else ""


def parse_key(key: str) -> Group:
    """The group a `group_key` was made of."""
    return tuple(json.loads(key).items()) if key else ()

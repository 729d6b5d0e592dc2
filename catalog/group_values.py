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


def group_key(group: Mapping[str, str | None] | Iterable[tuple[str, str | None]]) -> str:
    """One text per group, the same whatever the order of its keys; empty for no keys."""
    values = dict(group)
    return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False) if values else ""


def parse_key(key: str) -> Group:
    """The group a `group_key` was made of."""
    return tuple(json.loads(key).items()) if key else ()

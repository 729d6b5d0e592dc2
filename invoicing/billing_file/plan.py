"""What applying a file does, one step for each thing it names."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from billing_project.decimals import plain

Action = Literal["create", "change", "unchanged"]
LONGEST = 60


@dataclass(frozen=True, slots=True)
class Step:
    """One thing of a file and what happens to it; `details` say what changes."""

    action: Action
    kind: str
    key: str
    details: tuple[str, ...] = ()


def step(kind: str, key: str, is_new: bool, changes: Mapping[str, tuple[Any, Any]]) -> Step:
    """The step for a thing with these fields changed, from what to what."""
    action: Action = "create" if is_new else "change" if changes else "unchanged"
    details = () if is_new else tuple(f"{name}: {shown(old)} → {shown(new)}" for name, (old, new) in changes.items())
    return Step(action, kind, key, details)


def plan_lines(steps: Iterable[Step]) -> list[str]:
    """The plan as people read it."""
    steps = list(steps)
    width = max((len(each.kind) for each in steps), default=0)
    lines: list[str] = []
    for each in steps:
        lines.append(f"{each.action:<9}  {each.kind:<{width}}  {each.key}")
        lines += [f"{'':<9}  {'':<{width}}    {detail}" for detail in each.details]
    return lines


def summary(steps: Iterable[Step]) -> str:
    counts = Counter(each.action for each in steps)
    return f"{counts['create']} to create, {counts['change']} to change, {counts['unchanged']} unchanged."


def shown(value: Any) -> str:
    if value is None or value == "":
        return "none"
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, datetime):
        return value.isoformat()
    text = str(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"

"""What two people changed on the same page: put together by name. Pure."""

from collections.abc import Mapping
from typing import Any


def merged(
    seen: Mapping[str, Any], mine: Mapping[str, Any], theirs: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """What each name is after both, and the names that both set, to different values: there it is mine.

    `seen` is what was shown to me, `theirs` what is stored since. None is the same as no value.
    """
    together: dict[str, Any] = {}
    both = []
    for name in dict.fromkeys((*seen, *theirs, *mine)):
        before, wanted, stored = seen.get(name), mine.get(name), theirs.get(name)
        if before not in (wanted, stored) and wanted != stored:
            both.append(name)
        kept = stored if wanted == before else wanted
        if kept is not None:
            together[name] = kept
    return together, both

"""A handful of amounts as a small line. Pure."""

from collections.abc import Sequence
from decimal import Decimal

WIDTH, HEIGHT, MARGIN = 72, 20, 2


def points(totals: Sequence[Decimal]) -> list[tuple[int, int]]:
    """Where each total stands in a box of WIDTH times HEIGHT, zero at its foot unless one is below zero."""
    low, high = min(*totals, Decimal(0), Decimal(0)), max(*totals, Decimal(0), Decimal(0))
    reach = (high - low) or Decimal(1)
    across, up = WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN
    last = max(len(totals) - 1, 1)
    return [
        (MARGIN + across * place // last, HEIGHT - MARGIN - int(up * (total - low) / reach))
        for place, total in enumerate(totals)
    ]

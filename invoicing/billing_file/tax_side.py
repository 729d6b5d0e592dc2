"""The rates of tax of a billing file."""

from collections.abc import Sequence

from catalog.models import TaxRate
from invoicing.billing_file.faults import Fault, Placed
from invoicing.billing_file.plan import Step
from invoicing.billing_file.rows import upsert
from invoicing.billing_file.schema import TaxRateEntry

FIELDS = (
    *("name", "percent", "category", "country", "region", "product_category", "inclusive", "note"),
    *("starting_at", "ending_before"),
)


def apply_tax_rates(entries: Sequence[Placed[TaxRateEntry]]) -> tuple[list[Step], list[Fault]]:
    """Rates that end come before those that take their place, whatever the order in the file."""
    stored = {row.key: row for row in TaxRate.objects.filter(key__in=[each.entry.key for each in entries])}
    steps: dict[str, Step] = {}
    faults: list[Fault] = []
    for each in sorted(entries, key=lambda one: (one.entry.key not in stored, one.entry.ending_before is None)):
        row = stored.get(each.entry.key) or TaxRate(key=each.entry.key)
        values = {name: getattr(each.entry, name) for name in FIELDS}
        made, wrong = upsert(row, values, each.path, "tax rate")
        faults += wrong
        if made:
            steps[each.path] = made
    return [steps[each.path] for each in entries if each.path in steps], faults

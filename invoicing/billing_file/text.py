"""Results as people read them: aligned columns, amounts on the right."""

from collections.abc import Iterator, Sequence
from typing import Any

Row = Sequence[str]


def result_lines(result: dict[str, Any]) -> Iterator[str]:
    """One scenario: its invoices with their lines, and its balances with their entries."""
    yield result["name"]
    if "error" in result:
        error = result["error"]
        for each in error.get("errors", [error]):
            yield f"  failed: {': '.join(filter(None, [each['path'], each['message']]))}"
        return
    for invoice in result["invoices"]:
        yield ""
        yield from _invoice(invoice)
    if result["balances"]:
        yield ""
        yield from _balances(result["balances"])
    for row in result.get("shadows", ()):
        period = f"{_day(row['period']['starting_at'])} to {_day(row['period']['ending_before'])}"
        yield f"  {row['contract']} instead, {period}: {row['shadow']} for {row['actual']} ({row['difference']})"
    for row in result["unclaimed"]:
        yield f"  unclaimed: {row['events']} events of {row['customer']}"


def _invoice(invoice: dict[str, Any]) -> Iterator[str]:
    period = invoice["period"]
    span = f"{_day(period['starting_at'])} to {_day(period['ending_before'])}"
    yield f"  {invoice['contract']}, {invoice['kind']}, {span}, {invoice['status']}"
    rows = [
        [_line_name(line), line["quantity"], line["unit_amount"] or "", line["amount"]] for line in invoice["lines"]
    ]
    sums = ("subtotal", "discount", "credits_applied", "tax", "already_invoiced")
    shown = [name for name in sums if name == "subtotal" or any(digit in invoice[name] for digit in "123456789")]
    rows += [[name.replace("_", " "), "", "", invoice[name]] for name in shown]
    rows.append([f"total {invoice['currency']}", "", "", invoice["total"]])
    yield from table(rows, "    ")
    for row in invoice["unrated"]:
        yield f"    no rate for {row['quantity']} of {row['product']}"


def _line_name(line: dict[str, Any]) -> str:
    group = ", ".join(f"{key}={value}" for key, value in line["group"].items() if value is not None)
    return f"{line['name']} ({group})" if group else str(line["name"])


def _balances(balances: Sequence[dict[str, Any]]) -> Iterator[str]:
    rows = []
    for balance in balances:
        rows.append(
            [
                f"{balance['contract'] or balance['customer']}, {balance['balance']}",
                "",
                f"{balance['remaining']} {balance['unit']}",
            ]
        )
        rows += [[f"  {entry['kind']}", _day(entry["at"]), entry["amount"]] for entry in balance["ledger"]]
    yield "  Balances"
    yield from table(rows, "    ")


def table(rows: Sequence[Row], indent: str) -> Iterator[str]:
    """Rows in columns: the first on the left, the others on the right."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))] if rows else []
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        yield f"{indent}{'  '.join(cells)}".rstrip()


def _day(instant: str) -> str:
    return instant.removesuffix("T00:00:00+00:00").replace("+00:00", "Z")

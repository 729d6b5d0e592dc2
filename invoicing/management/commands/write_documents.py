"""`manage.py write_documents FOLDER`: issued invoices and credit notes as files, many at a time."""

from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from billing_project.errors import RuleError
from billing_project.progress import progress
from invoicing.documents import file_name, html, shown_credit_note, shown_invoice
from invoicing.einvoices import factur_x, xml_of
from invoicing.models import FROZEN, CreditNote, Invoice
from invoicing.pdf import pdf_of
from invoicing.usage_detail import usage_detail

ENDINGS = {"csv": "usage.csv", "factur-x": "factur-x.pdf"}


def day_of(text: str) -> datetime:
    try:
        return datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r} is no day: write it as 2026-01-31") from error


class Command(BaseCommand):
    help = (
        "Write issued invoices and credit notes as PDF, HTML, electronic invoice (xml) or a PDF that carries one "
        "(factur-x), or the usage behind invoices as CSV, into a folder."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("folder", type=Path)
        parser.add_argument("--format", choices=["pdf", "html", "xml", "factur-x", "csv"], default="pdf")
        parser.add_argument("--number", nargs="+", metavar="NUMBER", help="Only these documents.")
        parser.add_argument("--since", type=day_of, metavar="DAY", help="Only those issued on this day (UTC) or later.")
        parser.add_argument("--anew", action="store_true", help="Write files that are there already once more.")

    def handle(self, *args: Any, **options: Any) -> None:
        folder: Path = options["folder"]
        folder.mkdir(parents=True, exist_ok=True)
        wanted = list(_wanted(options))
        missing = set(options["number"] or ()) - {each.number for each in wanted}
        if missing:
            raise CommandError(f"There is no issued document {', '.join(sorted(missing))}.")
        written = 0
        with progress("Writing", len(wanted), unit="documents", stream=self.stderr) as advance:
            for each in wanted:
                path = folder / file_name(each, ENDINGS.get(options["format"], options["format"]))
                if options["anew"] or not path.exists():
                    try:
                        _write(each, options["format"], path)
                    except RuleError as error:
                        raise CommandError(f"{each.number}: {error}") from error
                    written += 1
                advance(1)
        self.stdout.write(f"{written} documents written to {folder}, {len(wanted) - written} were there.")


def _wanted(options: dict[str, Any]) -> Iterator[Invoice | CreditNote]:
    chosen: dict[str, Any] = {"number__in": options["number"]} if options["number"] else {}
    if options["since"]:
        chosen["issued_at__gte"] = options["since"]
    invoices = Invoice.objects.filter(status__in=FROZEN, **chosen).select_related("contract__customer", "replaces")
    yield from invoices.order_by("issued_at", "pk").iterator(chunk_size=500)
    if options["format"] != "csv":
        notes = CreditNote.objects.filter(status=CreditNote.Status.ISSUED, **chosen)
        yield from notes.select_related("invoice__contract__customer").order_by("pk").iterator(chunk_size=500)


def _write(each: Invoice | CreditNote, kind: str, path: Path) -> None:
    """The file appears whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    if kind == "csv" and isinstance(each, Invoice):
        with part.open("w", encoding="utf-8", newline="") as file:
            file.writelines(usage_detail(each))
    elif kind == "xml":
        part.write_bytes(xml_of(each))
    else:
        shown = shown_invoice(each) if isinstance(each, Invoice) else shown_credit_note(each)
        page = html(shown, paged=True)
        if kind == "html":
            part.write_bytes(page.encode())
        else:
            part.write_bytes(pdf_of(page, factur_x(each) if kind == "factur-x" else None))
    part.replace(path)

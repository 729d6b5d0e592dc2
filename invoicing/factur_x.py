"""What a PDF says of the electronic invoice it carries, as Factur-X 1.0 (and ZUGFeRD from 2.1 on) wants it. Pure."""

FILE_NAME = "factur-x.xml"
# By this a reader knows that the PDF carries an invoice, and of which profile. PDF/A wants names of others described.
NAMES = {
    "DocumentFileName": "name of the embedded XML invoice file",
    "DocumentType": "kind of the document",
    "Version": "version of the XML schema",
    "ConformanceLevel": "profile of the XML invoice",
}
PROPERTY = """<rdf:li rdf:parseType="Resource">
    <pdfaProperty:name>{}</pdfaProperty:name><pdfaProperty:valueType>Text</pdfaProperty:valueType>
    <pdfaProperty:category>external</pdfaProperty:category><pdfaProperty:description>{}</pdfaProperty:description>
   </rdf:li>"""
XMP = f"""
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
 <rdf:Description rdf:about="" xmlns:pdfaExtension="http://www.aiim.org/pdfa/ns/extension/"
   xmlns:pdfaSchema="http://www.aiim.org/pdfa/ns/schema#" xmlns:pdfaProperty="http://www.aiim.org/pdfa/ns/property#">
  <pdfaExtension:schemas><rdf:Bag><rdf:li rdf:parseType="Resource">
   <pdfaSchema:schema>Factur-X PDFA Extension Schema</pdfaSchema:schema>
   <pdfaSchema:namespaceURI>urn:factur-x:pdfa:CrossIndustryDocument:invoice:1p0#</pdfaSchema:namespaceURI>
   <pdfaSchema:prefix>fx</pdfaSchema:prefix>
   <pdfaSchema:property><rdf:Seq>
   {"".join(PROPERTY.format(*each) for each in NAMES.items())}
   </rdf:Seq></pdfaSchema:property>
  </rdf:li></rdf:Bag></pdfaExtension:schemas>
 </rdf:Description>
 <rdf:Description rdf:about="" xmlns:fx="urn:factur-x:pdfa:CrossIndustryDocument:invoice:1p0#">
  <fx:DocumentType>INVOICE</fx:DocumentType>
  <fx:DocumentFileName>{FILE_NAME}</fx:DocumentFileName>
  <fx:Version>1.0</fx:Version>
  <fx:ConformanceLevel>EN 16931</fx:ConformanceLevel>
 </rdf:Description>
</rdf:RDF>
"""

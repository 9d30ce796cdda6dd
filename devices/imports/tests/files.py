"""Files of devices as spreadsheets in the field have written them."""

import io
import zipfile
from xml.sax.saxutils import escape

HEADER = b"serial_number,mac_addresses,name,model,tags\r\n"

UTF8_WITH_MARK = b"\xef\xbb\xbf" + HEADER + b"SN-1001,A8:BB:CC:00:10:01,Lobby,X96,lobby\r\n"
GERMAN_EXCEL = (
    b"serial_number;mac_addresses;name;model;tags\r\n"
    b'SN-1002;A8-BB-CC-00-10-02;"Empfang; links";X96;"lobby,ground floor"\r\n'
)
UNICODE_TEXT = (
    "\ufeffserial_number\tmac_addresses\tname\tmodel\ttags\r\n"
    "SN-1003\tA8BB.CC00.1003\tПанель №3\tX96\tкасса\r\n"  # noqa: RUF001 # Cyrillic
).encode("utf-16-le")
WINDOWS_1252 = HEADER + "SN-1004,,München Süd – 2. OG,X96,\r\n".encode("cp1252")
HEBREW = "מספר סידורי,שם\r\nSN-1018,מסך ראשי\r\n".encode("cp1255")
ROUNDED = HEADER + (
    b"3.57E+14,,Rounded,X96,\r\n8,92302E+17,Rounded too,X96,\r\n8.92302E+17,,Rounded too,X96,\r\n"
    b"SN-1005,,Good,X96,\r\n"
)
EMPTY_COLUMNS = (
    b"serial_number;name;model;;;\r\nSN-1006;Shop;X96;;;\r\n;;;;;\r\n\r\nSN-1007;Shop 2;X96;;;\r\n"
)
LINE_BREAKS = HEADER + (
    b'SN-1008,,"Room ""A""\r\nsecond line",X96,\r\nSN-1009,,\'quoted\',X96,\r\n'
)
SEPARATOR_LINE = b"sep=;\r\nserial_number;mac_addresses;name;model;tags\r\nSN-1010;;Shop;X96;\r\n"
HEADER_SPELLING = b"Serial Number, MAC Addresses ,NAME\r\nSN-1011,a8 bb cc 00 10 11,Shop\r\n"
LEADING_ZEROS = HEADER + (
    b'\'000123456,,From a text cell,X96,\r\n="000123457",,Text formula,X96,\r\n'
    b"000123458,,Plain,X96,\r\n"
)
REPEATED = HEADER + (
    b"SN-1012,A8:BB:CC:00:10:12,One,X96,\r\nSN-1012,A8:BB:CC:00:10:12,One again,X96,\r\n"
    b"SN-1013,A8:BB:CC:00:10:12,MAC of another row,X96,\r\n"
)
CLASSIC_MAC = b"serial_number,mac_addresses,name,model,tags\rSN-1014,,Shop,X96,\r"
FORMULAS = HEADER + (
    b'SN-1015,,"=HYPERLINK(""http://x"",""y"")",X96,\r\nSN-1016,,-2+3,X96,\r\n'
    b"SN-1017,,@SUM(A1),X96,\r\nSN-1019,,'5,X96,\r\n"
)


def sparse_workbook() -> bytes:
    """Return an XLSX file with two cells that are as far from each other as possible."""
    first, last = "<row r='1'><c r='A1'><v>1</v></c></row>", "<c r='XFD1048576'><v>2</v></c>"
    return _packed(f"{first}<row r='1048576'>{last}</row>")


def workbook(rows: list[list[str | float]]) -> bytes:
    """Return a minimal XLSX file (ECMA-376) with one sheet."""
    lines = []
    for cells in rows:
        columns = "".join(
            f'<c t="inlineStr"><is><t>{escape(cell)}</t></is></c>'
            if isinstance(cell, str)
            else f"<c><v>{cell}</v></c>"
            for cell in cells
        )
        lines.append(f"<row>{columns}</row>")
    return _packed("".join(lines))


def _packed(rows: str) -> bytes:
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    relation = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    kinds = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types">'
        '<Default Extension="rels"'
        ' ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{kinds}.sheet.main+xml"/>'
        f'<Override PartName="/xl/sheet.xml" ContentType="{kinds}.worksheet+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="r1"'
        f' Type="{relation}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{relation}"><sheets>'
        '<sheet name="Devices" sheetId="1" r:id="r1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}/relationships">'
        f'<Relationship Id="r1" Type="{relation}/worksheet" Target="sheet.xml"/>'
        "</Relationships>",
        "xl/sheet.xml": f'<worksheet xmlns="{main}"><sheetData>{rows}</sheetData></worksheet>',
    }
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    return stream.getvalue()

"""Writes the two PDF files of this example: `python make_pdfs.py`. They are made up, and small enough to read."""

from pathlib import Path

INVOICES = {
    "1001.pdf": ("Northwind Paper Ltd", "Invoice no. NP-1001", "Date: 4 March 2024", "Total due: 1,250.00 EUR"),
    "1002.pdf": ("Harbour Cleaning Services", "Invoice 88/2024", "Issued on 17 May 2024", "Please pay 430.50 EUR"),
}


def pdf_of(lines: tuple[str, ...]) -> bytes:
    """One page with these lines (ISO 32000-1, 7.5: header, objects, cross-reference table, trailer)."""
    shown = " ".join(f"({line}) Tj T*" for line in lines)
    drawing = f"BT /F1 12 Tf 16 TL 72 720 Td {shown} ET"
    page = "/Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >>"
    objects = (
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        f"<< /Type /Page {page} >>",
        f"<< /Length {len(drawing)} >>\nstream\n{drawing}\nendstream",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    )
    body, places = "%PDF-1.4\n", []
    for number, content in enumerate(objects, start=1):
        places.append(len(body))
        body += f"{number} 0 obj\n{content}\nendobj\n"
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    count = len(objects) + 1
    end = f"xref\n0 {count}\n0000000000 65535 f \n{table}trailer\n<< /Size {count} /Root 1 0 R >>\n"
    return f"{body}{end}startxref\n{len(body)}\n%%EOF\n".encode("ascii")


if __name__ == "__main__":
    for name, lines in INVOICES.items():
        (Path(__file__).parent / "invoices" / name).write_bytes(pdf_of(lines))

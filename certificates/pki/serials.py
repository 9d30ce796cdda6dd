"""Serial numbers (RFC 5280 §4.1.2.2) and their normal form as text."""

import re

from cryptography import x509

_NORMAL_FORM = re.compile(r"[0-9a-f]{1,40}")


def random_serial_number() -> int:
    """Return a positive serial number of at most 20 octets, with 159 random bits."""
    return x509.random_serial_number()


def to_text(serial_number: int) -> str:
    """Return a serial number as lower-case hexadecimal without leading zeros."""
    return f"{serial_number:x}"


def normalise(text: str) -> str | None:
    """Convert a serial number from a user or a tool to the form of `to_text`.

    Accept upper and lower case, colons or spaces between octets, and leading zeros.

    Returns:
        The normal form; None if the text is not a serial number.
    """
    plain = text.strip().lower().replace(":", "").replace(" ", "")
    if not _NORMAL_FORM.fullmatch(plain):
        return None
    return plain.lstrip("0") or None

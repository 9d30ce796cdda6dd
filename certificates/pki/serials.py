"""Serial numbers (RFC 5280 §4.1.2.2), and their one written form."""

import re

from cryptography import x509

_WRITTEN = re.compile(r"[0-9a-f]{1,40}")


def random_serial_number() -> int:
    """Positive, at most 20 octets, 159 random bits."""
    return x509.random_serial_number()


def to_text(serial_number: int) -> str:
    """Lower case hexadecimal without leading zeros."""
    return f"{serial_number:x}"


def normalise(text: str) -> str | None:
    """The one written form of what a person or a tool wrote; None if it is none.

    Takes either case, colons or spaces between octets, and leading zeros.
    """
    plain = text.strip().lower().replace(":", "").replace(" ", "")
    if not _WRITTEN.fullmatch(plain):
        return None
    return plain.lstrip("0") or None

"""Generate, recognise, hash and compare bearer tokens, without database access.

A token consists of a prefix for its kind and 256 random bits. The hash needs neither salt
nor stretching, because 256 bits cannot be guessed.
"""

import hashlib
import hmac
import re
import secrets

SHAPE = re.compile(r"(?P<prefix>[a-z]{3}_)[A-Za-z0-9_-]{43}")


def make(prefix: str) -> str:
    """Generate a token. Show it once and store only its digest."""
    return prefix + secrets.token_urlsafe(32)


def prefix_of(text: str) -> str | None:
    """Return the prefix of a token, or None if the text is not a well-formed token."""
    match = SHAPE.fullmatch(text)
    return match["prefix"] if match else None


def digest(token: str) -> str:
    """Return the SHA-256 (hex) of a token. Only this digest of a token is stored."""
    return hashlib.sha256(token.encode()).hexdigest()


def matches(token: str, stored_digest: str) -> bool:
    """Compare a token with a stored digest in constant time."""
    return hmac.compare_digest(digest(token), stored_digest)


def hint(token: str) -> str:
    """Return the first characters of a token, so that people can recognise it."""
    return f"{token[:8]}…"

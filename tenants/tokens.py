"""The craft of bearer tokens, without rows: make, recognise, hash, compare.

A token is a prefix that says what it is and 256 random bits. Its hash needs no salt
and no stretching: nobody can guess 256 bits.
"""

import hashlib
import hmac
import re
import secrets

SHAPE = re.compile(r"(?P<prefix>[a-z]{3}_)[A-Za-z0-9_-]{43}")


def make(prefix: str) -> str:
    """A new token; it is shown once and only its hash is kept."""
    return prefix + secrets.token_urlsafe(32)


def prefix_of(text: str) -> str | None:
    """What a presented text claims to be, or None when it cannot be a token."""
    match = SHAPE.fullmatch(text)
    return match["prefix"] if match else None


def digest(token: str) -> str:
    """SHA-256 in hex, the only form in which a token is stored."""
    return hashlib.sha256(token.encode()).hexdigest()


def matches(token: str, stored_digest: str) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(digest(token), stored_digest)


def hint(token: str) -> str:
    """Enough of a token for a person to recognise it, and far too little to use it."""
    return f"{token[:8]}…"

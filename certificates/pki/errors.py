"""Errors raised when keys, requests or certificates are not acceptable."""


class PkiError(ValueError):
    """Input that cannot be used. The message is safe to show to its sender."""


class BadRequest(PkiError):
    """Not a certificate signing request that proves possession of an acceptable key."""


class WeakKey(PkiError):
    """A key that no certificate should carry."""


class BadAuthority(PkiError):
    """A key and a certificate chain that cannot act as a certificate authority."""


class BadCertificate(PkiError):
    """Not a readable certificate, or one that no verifier could accept."""

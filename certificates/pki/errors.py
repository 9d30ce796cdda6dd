"""Errors raised when keys, requests or certificates are not acceptable."""


class PkiError(ValueError):
    """The input cannot be used. The message is safe to show to the sender of the input."""


class BadRequest(PkiError):
    """The input is not a CSR that proves possession of an acceptable key."""


class WeakKey(PkiError):
    """The key is not acceptable in a certificate."""


class BadAuthority(PkiError):
    """The key and the certificate chain cannot act as a certificate authority."""


class BadCertificate(PkiError):
    """The input is not a readable certificate, or no verifier could accept it."""

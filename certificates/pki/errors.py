"""What the cryptography refuses."""


class PkiError(ValueError):
    """Bad material from outside; the text is safe to show to whoever sent it."""


class BadRequest(PkiError):
    """Not a certificate signing request that proves possession of an acceptable key."""


class WeakKey(PkiError):
    """A key that no certificate should carry."""


class BadAuthority(PkiError):
    """A key and a chain that cannot act as a certificate authority."""


class BadCertificate(PkiError):
    """Not a certificate that anybody could trust."""

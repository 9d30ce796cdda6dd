"""What the authority refuses."""

from provisioning.errors import Conflict, Invalid, Missing


class InvalidRequest(Invalid):
    """The certificate signing request is not acceptable."""

    code = "csr_invalid"


class InvalidReason(Invalid):
    code = "revocation_reason_invalid"


class InvalidAuthority(Invalid):
    code = "ca_invalid"


class AuthorityExists(Conflict):
    code = "ca_exists"


class AuthorityUnavailable(Conflict):
    """The CA's key or certificate is missing or unreadable."""

    code = "ca_unavailable"


class NoSuchCertificate(Missing):
    code = "certificate_not_found"

    def __init__(self) -> None:
        super().__init__("There is no such certificate.")


class KeyInUse(Conflict):
    code = "key_in_use"


class NotRenewable(Conflict):
    code = "certificate_not_renewable"


class NotRevocable(Conflict):
    code = "certificate_not_revocable"


class IssuanceInterrupted(Conflict):
    code = "issuance_interrupted"

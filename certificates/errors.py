"""Errors raised by the certificate services."""

from datetime import timedelta

from core.errors import Conflict, Invalid, Missing, Refused, Unavailable


class InvalidRequest(Invalid):
    """The certificate signing request is not acceptable."""

    code = "csr_invalid"


class InvalidReason(Invalid):
    code = "revocation_reason_invalid"


class InvalidAuthority(Invalid):
    code = "ca_invalid"


class AuthorityExists(Conflict):
    code = "ca_exists"


class AuthorityUnavailable(Unavailable):
    """The CA's key or certificate is missing or unusable."""

    code = "ca_unavailable"


class NoSuchCertificate(Missing):
    code = "certificate_not_found"
    sentence = "The certificate does not exist."


class KeyInUse(Conflict):
    code = "key_in_use"


class NotRenewable(Conflict):
    code = "certificate_not_renewable"


class NotRevocable(Conflict):
    code = "certificate_not_revocable"


class IssuanceInterrupted(Conflict):
    code = "issuance_interrupted"


class NoAuthority(Missing):
    code = "ca_not_found"
    sentence = "The certificate authority does not exist."


class NotReadyForRotation(Conflict):
    """The current state of the CA rotation does not allow this step."""

    code = "ca_rotation_out_of_order"


class NoSuchList(Missing):
    code = "revocation_list_not_found"
    sentence = "The revocation list does not exist."


class InvalidList(Invalid):
    code = "revocation_list_invalid"


class NoKeyToDeliver(Conflict):
    """There is no key to deliver.

    The device generated the key, or the server has already delivered or destroyed it.
    """

    code = "key_not_deliverable"


class NotAcknowledgeable(Conflict):
    code = "certificate_not_acknowledgeable"


class NoSuchCampaign(Missing):
    code = "renewal_campaign_not_found"
    sentence = "The renewal campaign does not exist."


class NothingToRenew(Conflict):
    code = "nothing_to_renew"


class ClientCertificateRefused(Refused):
    code = "invalid_client_certificate"


class EnrollmentPending(Conflict):
    """The enrollment cannot be completed yet; retry after `retry_after` seconds."""

    code = "enrollment_pending"

    def __init__(self, after: timedelta) -> None:
        super().__init__("The enrollment is pending. Send the request again later.")
        self.retry_after = str(int(after.total_seconds()))


class AlreadyRunning(Conflict):
    code = "renewal_campaign_running"


class NothingToReenroll(Missing):
    code = "nothing_to_reenroll"

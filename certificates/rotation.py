"""From one CA to the next: where it stands, what comes next, and the last step of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from certificates.management_service import CertificateManagementService
from certificates.models import (
    CertificateAuthority,
    DeviceCertificate,
    RenewalCampaign,
)

Status = CertificateAuthority.Status
Step = str


@dataclass(frozen=True, slots=True)
class Standing:
    """One authority, and how many valid certificates of it there are."""

    authority: CertificateAuthority
    in_use: int
    superseded: int  # valid still, with a successor


def standings() -> list[Standing]:
    """Every trusted authority that signs or signed for devices."""
    found = []
    for row in CertificateAuthority.objects.trusted().issuing().order_by("created_at"):
        signed = DeviceCertificate.objects.signed_by(row.key_identifier)
        in_use = signed.active().count()
        found.append(Standing(row, in_use, signed.unended().count() - in_use))
    return found


def next_step(standing: list[Standing]) -> tuple[Step, str]:
    """The step that is due, and what the operator has to see to before it."""
    by_status = {item.authority.status: item for item in standing}
    if Status.NEXT in by_status:
        return (
            "switch",
            "Give everything that verifies devices the new trusted.pem (proxies fetch "
            "/certificates/trusted.pem by themselves), then: rotate_ca switch",
        )
    former = [item for item in standing if item.authority.status == Status.TRUSTED]
    if not former:
        return "prepare", "Nothing is under way. To begin: rotate_ca prepare"
    if any(item.in_use for item in former):
        if RenewalCampaign.objects.running().exclude(authority_key_id="").exists():
            return "wait", "Certificates are being renewed; come again later."
        return (
            "move",
            "Have the certificates of the former CA renewed: "
            "rotate_ca move --per-minute N",
        )
    if any(item.superseded for item in former):
        return (
            "retire",
            "No device uses the former CA. Wait until its last certificate has ended, or "
            "revoke those that were superseded: rotate_ca retire --revoke-superseded",
        )
    return "retire", "Nothing of the former CA is valid: rotate_ca retire"


def former() -> list[CertificateAuthority]:
    """Those that signed before and are trusted still, the oldest first."""
    trusted = CertificateAuthority.objects.issuing().filter(status=Status.TRUSTED)
    return list(trusted.order_by("created_at"))


def revoke_superseded(
    authority: CertificateAuthority,
    service: CertificateManagementService,
    *,
    now: datetime,
) -> Iterator[DeviceCertificate]:
    """End what is valid of a former CA and has a successor in use, one by one."""
    signed = DeviceCertificate.objects.signed_by(authority.key_identifier).unended()
    for row in signed.exclude(pk__in=signed.active().values("pk")).iterator():
        yield service.revoke_certificate(
            row, reason=DeviceCertificate.Reason.SUPERSEDED, now=now
        )

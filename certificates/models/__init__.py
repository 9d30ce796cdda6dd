"""Models of certificate authorities, certificates, revocation lists and audits."""

from certificates.models.authority import CertificateAuthority, Responder
from certificates.models.campaign import RenewalCampaign
from certificates.models.certificate import CertificateQuerySet, DeviceCertificate
from certificates.models.forgotten import ForgottenRevocation
from certificates.models.inspection import Drift, Inspection
from certificates.models.revocation_list import RevocationList

__all__ = [
    "CertificateAuthority",
    "CertificateQuerySet",
    "DeviceCertificate",
    "Drift",
    "ForgottenRevocation",
    "Inspection",
    "RenewalCampaign",
    "Responder",
    "RevocationList",
]

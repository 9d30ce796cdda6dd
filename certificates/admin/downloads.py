"""Certificates as files."""

from cryptography.hazmat.primitives.serialization import Encoding
from django.http import HttpResponse

from certificates.models import DeviceCertificate
from certificates.services.authorities import chain_of

FORMS = {  # content type, file name
    "pem": ("application/x-pem-file", "{}.pem"),
    "der": ("application/pkix-cert", "{}.cer"),  # RFC 2585 §4.1
    "chain": ("application/x-pem-file", "{}-chain.pem"),
}


def response(certificate: DeviceCertificate, form: str) -> HttpResponse:
    """Return a certificate as a file.

    Args:
        form: `pem`, `der`, or `chain`: the certificate, then the certificates of its CAs, the
            root last.
    """
    content_type, name = FORMS[form]
    match form:
        case "der":
            content = certificate.signed_certificate().public_bytes(Encoding.DER)
        case "chain":
            content = f"{certificate.pem}{chain_of(certificate.authority_key_id)}".encode()
        case _:
            content = certificate.pem.encode()
    return HttpResponse(
        content,
        content_type=content_type,
        headers={
            "Content-Disposition": f'attachment; filename="{name.format(certificate.serial_number)}"'
        },
    )

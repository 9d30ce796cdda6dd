"""Tests of TLS client certificates from the device through nginx to the application."""

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from certificates.models import DeviceCertificate
from certificates.pki import keys
from certificates.services import revocation_lists
from certificates.services.device_certificates import DeviceCertificatesService
from certificates.tests.external_tools import requires_tools, run_tool, tool_marks
from certificates.tests.issuance import issue_certificate, revoke_certificate
from certificates.tests.keys import ec_key, request_for
from certificates.tests.tls_site import NAME, Site, running_site
from devices.registry.models import Device
from devices.registry.services.credentials import renew_device_token
from devices.remote_control.services.connect_response import PATH
from devices.remote_control.tests.remote_control import create_member, issue_command
from tenants.context import tenant_scope

pytestmark = [pytest.mark.django_db(transaction=True), *tool_marks("nginx", "curl", "openssl")]


@pytest.fixture
def site(transactional_db: None, device: Device) -> Iterator[Site]:
    with running_site() as running:
        yield running


def rebuild_lists() -> None:
    ca = DeviceCertificatesService()
    revocation_lists.rebuild_due(ca, now=datetime.now(UTC))


@pytest.fixture
def identity(site: Site, device: Device) -> tuple[DeviceCertificate, list[str]]:
    """Return a device certificate and the curl options that present it."""
    key = ec_key()
    row = issue_certificate(device, datetime.now(UTC), key)
    certificate, private = site.folder / "device.pem", site.folder / "device-key.pem"
    certificate.write_text(row.pem)
    private.write_bytes(keys.to_pem(key))
    return row, ["--cert", str(certificate), "--key", str(private)]


def test_a_device_connects_with_its_certificate_until_it_is_revoked(
    site: Site, device: Device, identity: tuple[DeviceCertificate, list[str]]
) -> None:
    row, certificate_options = identity
    connect = ["--json", "{}"]

    status, body = site.curl("/devices/connect", *connect, *certificate_options)
    assert (status, str(device.pk) in body) == (200, True), body
    assert site.curl("/devices/connect", *connect)[0] == 401, "without a certificate"

    # The application rejects a revoked certificate at once. nginx rejects it with its
    # next revocation list.
    revoke_certificate(row, datetime.now(UTC))
    status, body = site.curl("/devices/connect", *connect, *certificate_options)
    assert (status, "revoked" in body) == (401, True), body
    rebuild_lists()
    site.refresh_trust()
    site.reload()
    status, body = site.curl("/devices/connect", *connect, *certificate_options)
    assert (status, "invalid_client_certificate" in body) == (401, True), body

    # A forged header is ignored, both through the proxy and in direct requests.
    forged = ["--header", f"X-SSL-Client-Cert: {quote(row.pem)}"]
    underscores = ["--header", f"X_SSL_Client_Cert: {quote(row.pem)}"]
    direct_url = f"http://localhost:{site.application}"
    tls = ["--header", "X-Forwarded-Proto: https"]
    for options in (forged, underscores):
        assert site.curl("/devices/me", *options)[0] == 401
        status, _ = site.curl("/devices/me", *options, *tls, url=direct_url)
        assert status in (308, 401)


def test_a_certificate_of_another_ca_is_rejected_by_the_proxy(site: Site) -> None:
    key, certificate = site.folder / "x-key.pem", site.folder / "x.pem"
    run_tool(
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=x",
        "-days",
        "1",
        "-keyout",
        str(key),
        "-out",
        str(certificate),
    )

    status, body = site.curl("/devices/me", "--cert", str(certificate), "--key", str(key))

    assert (status, "invalid_client_certificate" in body) == (401, True), body


def test_addresses_named_in_certificates_are_served_over_http(
    site: Site, identity: tuple[DeviceCertificate, list[str]]
) -> None:
    row, _ = identity
    http_url = f"http://localhost:{site.http}"

    for path in (
        "/certificates/ca.crl",
        f"/certificates/crl/{row.distribution_point_id}.crl",
        f"/certificates/authorities/{row.authority_key_id}.cer",
    ):
        assert site.curl(path, "--output", "/dev/null", url=http_url)[0] == 200, path
    assert site.curl("/devices/me", url=http_url)[0] == 308
    ca = site.folder / "ca.pem"
    ca.write_text(DeviceCertificatesService().store.ca_certificate.read_text())
    device = site.folder / "device.pem"
    output = run_tool(
        "openssl",
        "ocsp",
        "-issuer",
        str(ca),
        "-cert",
        str(device),
        "-CAfile",
        str(ca),
        "-url",
        f"{http_url}/certificates/ocsp",
    )
    assert "Response verify OK" in output
    assert f"{device}: good" in output


@requires_tools("pki")
def test_strongswan_enrolls_and_re_enrolls_by_est(site: Site, device: Device) -> None:
    folder = site.folder
    with tenant_scope(device.tenant_id):
        token = renew_device_token(device, now=datetime.now(UTC))
    server = ("--url", site.url, "--cacert", str(folder / "server.pem"))

    run_tool("pki", "--estca", *server[:2], "--cacert", server[3], "--caout", f"{folder}/ca")
    assert list(folder.glob("ca*")) != []

    key = ec_key()
    first = _enroll_by_est(
        folder / "first",
        request_for(key, common_name=f"Device-{device.pk}"),
        *server,
        "--userpass",
        f"{device.pk}:{token}",
    )
    assert first.public_key() == key.public_key()

    # The old certificate authenticates the re-enrollment.
    (folder / "old.key").write_bytes(keys.to_pem(key))
    (folder / "old.pem").write_text(DeviceCertificate.objects.get().pem)
    subject = first.subject
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    second_csr = builder.sign(ec_key(), hashes.SHA256()).public_bytes(Encoding.PEM).decode()
    second = _enroll_by_est(
        folder / "second",
        second_csr,
        *server,
        "--cert",
        str(folder / "old.pem"),
        "--key",
        str(folder / "old.key"),
    )
    assert second.subject == subject
    assert second.serial_number != first.serial_number
    newest = DeviceCertificate.objects.active().get()
    assert newest.serial_number == f"{second.serial_number:x}"


def _enroll_by_est(path: Path, csr: str, *options: str) -> x509.Certificate:
    request, output_path = path.with_suffix(".csr"), path.with_suffix(".out")
    request.write_text(csr)
    with output_path.open("wb") as stream:
        process = subprocess.run(
            ["pki", "--est", "--in", str(request), *options, "--outform", "pem"],
            stdout=stream,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
    assert process.returncode == 0, process.stderr.decode()
    return x509.load_pem_x509_certificate(output_path.read_bytes())


def test_push_notifications_pass_the_proxy_without_delay(
    site: Site, device: Device, identity: tuple[DeviceCertificate, list[str]]
) -> None:
    _, certificate_options = identity
    Device.every_tenant.filter(pk=device.pk).update(status="online")
    trusted = ["--cacert", str(site.folder / "server.pem"), "--max-time", "20"]
    accept = ["--header", "Accept: text/event-stream"]
    subscriber = subprocess.Popen(
        [
            "curl",
            "--silent",
            "--no-buffer",
            *trusted,
            *accept,
            *certificate_options,
            f"{site.url}{PATH}",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    with subscriber:
        assert subscriber.stdout is not None
        assert subscriber.stdout.readline().startswith("retry: ")
        issue_command(device, "reload", by=create_member(device.tenant), now=datetime.now(UTC))
        lines = [subscriber.stdout.readline().strip() for _ in range(3)]
        subscriber.terminate()
    assert lines == ["", "id: 1", 'data: {"sequence": 1}']


def test_the_metrics_are_blocked_however_the_path_is_written(site: Site) -> None:
    http = f"http://{NAME}:{site.http}"
    for url in (site.url, http):
        for path in ("/metrics", "/%6detrics", "/./metrics", "/x/../metrics", "//metrics"):
            assert site.curl(path, "--path-as-is", url=url)[0] in (404, 400), (url, path)
        status, body = site.curl("/%256detrics", url=url)
        assert "http_requests_total" not in body
        assert status in (404, 308)


def test_plain_http_redirects_known_hosts_only_and_repeats_no_other(site: Site) -> None:
    http = f"http://{NAME}:{site.http}"

    status, headers = site.curl("/admin/", "--include", url=http)
    other, answer = site.curl("/", "--include", "--header", "Host: evil.example", url=http)

    assert (status, f"https://{NAME}" in headers) == (308, True)
    assert other == 400
    assert "evil.example" not in answer
    assert "nginx/" not in headers + answer


def test_only_ciphers_with_forward_secrecy_are_accepted(site: Site) -> None:
    def status_with(cipher: str) -> int:
        options = ("--tls-max", "1.2", "--ciphers", cipher)
        return site.curl("/health/live", *options)[0]

    assert status_with("ECDHE-ECDSA-AES128-GCM-SHA256") == 200
    assert status_with("ECDHE-ECDSA-AES128-SHA") == 0
    assert status_with("AES128-GCM-SHA256") == 0

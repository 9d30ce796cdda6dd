"""OpenSSL, GnuTLS and pkilint check what each kind of CA issues."""

import os
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certificates.models import CertificateAuthority, DeviceCertificate, RevocationList
from certificates.services import authorities, ocsp_responses, revocation_lists
from certificates.services.certificate_management import CertificateManagementService
from certificates.tests.external_tools import (
    find_tool,
    requires_tools,
    run_failing_tool,
    run_tool,
    tool_marks,
)
from certificates.tests.issuance import issue_certificate, revoke_certificate
from devices.registry.tests.factories import DeviceFactory

pytestmark = pytest.mark.django_db
CA_KINDS = ("rsa", "ec", "rsa with root", "ec with root")


@dataclass(frozen=True)
class IssuedFiles:
    """Files of the certificates, lists and responder of one CA."""

    folder: Path
    active: DeviceCertificate
    revoked: DeviceCertificate

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def verification_time(self) -> list[str]:
        return ["-attime", str(int(datetime.now(UTC).timestamp()) + 5)]


@pytest.fixture(params=CA_KINDS)
def files(request: pytest.FixtureRequest, tmp_path: Path, settings: Any) -> IssuedFiles:
    kind = request.param
    settings.CERTIFICATES_ROOT = str(tmp_path / "authority")
    settings.CRL_SHARDS = 1
    settings.PKI_URL = "http://pki.example.com"
    now = datetime.now(UTC)
    service = CertificateManagementService()
    service.ca.initialize_ca(now=now, key_type=kind.split()[0], with_root="root" in kind)
    active, revoked = (issue_certificate(DeviceFactory.create(), now) for _ in range(2))
    revoke_certificate(revoked, now, reason="keyCompromise")
    revoke_certificate(issue_certificate(DeviceFactory.create(), now), now, reason="unspecified")
    revocation_lists.rebuild_due(service.ca, now=now)
    ocsp_responses.renew_responders(service.ca, now=now)
    folder = tmp_path / "files"
    folder.mkdir()
    write_files(folder, active, revoked)
    return IssuedFiles(folder, active, revoked)


def write_files(folder: Path, active: DeviceCertificate, revoked: DeviceCertificate) -> None:
    ca = CertificateAuthority.objects.signing().get()
    chain = ca.certificates()
    contents: dict[str, bytes] = {
        "good.pem": active.pem.encode(),
        "bad.pem": revoked.pem.encode(),
        "ca.pem": chain[0].public_bytes(Encoding.PEM),
        "chain.pem": ca.chain.encode(),
        "root.pem": chain[-1].public_bytes(Encoding.PEM),
        "responder.pem": ca.responders.get().pem.encode(),
    }
    lists = []
    for row in RevocationList.objects.select_related("authority"):
        name = "root" if row.authority.level == "root" else "complete"
        der = bytes(row.der)
        pem = x509.load_der_x509_crl(der).public_bytes(Encoding.PEM)
        if row.slot is not None:
            name = "shard"
        else:
            lists.append(pem)
        contents[f"{name}.crl"], contents[f"{name}.crl.pem"] = der, pem
    contents["lists.pem"] = b"".join(lists)
    for name, content in contents.items():
        (folder / name).write_bytes(content)


# --- OpenSSL -------------------------------------------------------------------------------


@requires_tools("openssl")
def test_openssl_verifies_the_chain_and_the_revocation_lists(files: IssuedFiles) -> None:
    verify = [
        "openssl",
        "verify",
        "-x509_strict",
        "-purpose",
        "sslclient",
        "-auth_level",
        "2",
        *files.verification_time(),
        "-CAfile",
        files.path("root.pem"),
        "-untrusted",
        files.path("chain.pem"),
        "-CRLfile",
        files.path("lists.pem"),
        "-crl_check_all",
    ]

    assert "OK" in run_tool(*verify, files.path("good.pem"))
    assert "revoked" in run_failing_tool(*verify, files.path("bad.pem"))
    extended = [*verify, "-extended_crl"]
    assert "OK" in run_tool(*extended, files.path("good.pem"))


@requires_tools("openssl")
def test_openssl_accepts_a_shard_as_the_only_list(files: IssuedFiles) -> None:
    verify = [
        "openssl",
        "verify",
        "-x509_strict",
        "-extended_crl",
        "-crl_check",
        *files.verification_time(),
        "-partial_chain",
        "-CAfile",
        files.path("ca.pem"),
        "-CRLfile",
        files.path("shard.crl.pem"),
    ]

    assert "OK" in run_tool(*verify, files.path("good.pem"))
    assert "revoked" in run_failing_tool(*verify, files.path("bad.pem"))


@requires_tools("openssl")
def test_openssl_rejects_a_certificate_for_a_server_and_after_expiry(files: IssuedFiles) -> None:
    verify = [
        "openssl",
        "verify",
        "-CAfile",
        files.path("root.pem"),
        "-untrusted",
        files.path("chain.pem"),
    ]
    after_expiry = str(int(datetime.now(UTC).timestamp()) + 400 * 86_400)

    server = run_failing_tool(
        *verify, "-purpose", "sslserver", *files.verification_time(), files.path("good.pem")
    )
    assert "purpose" in server
    assert "expired" in run_failing_tool(*verify, "-attime", after_expiry, files.path("good.pem"))


@requires_tools("openssl")
def test_openssl_reads_the_contents_of_a_list(files: IssuedFiles) -> None:
    output = run_tool("openssl", "crl", "-in", files.path("shard.crl.pem"), "-text")

    assert "Version 2" in output
    assert "Issuing Distribution Point: critical" in output
    assert "Key Compromise" in output
    assert output.count("Serial Number:") == 2
    assert output.count("X509v3 CRL Reason Code") == 1, "the unspecified reason is left out"
    verified = run_tool(
        "openssl",
        "crl",
        "-in",
        files.path("complete.crl.pem"),
        "-noout",
        "-CAfile",
        files.path("ca.pem"),
    )
    assert "verify OK" in verified


@requires_tools("openssl")
@pytest.mark.parametrize("digest", ["-sha1", "-sha256"])
def test_openssl_verifies_ocsp_responses(files: IssuedFiles, client: Any, digest: str) -> None:
    """Check the output of OpenSSL, because its exit status is 0 for revoked certificates too."""
    names, expected = ("good.pem", "bad.pem"), ("good", "revoked")
    for name, status in zip(names, expected, strict=True):
        request_path, response_path = files.path("q.der"), files.path("a.der")
        certificate_options = ("-issuer", files.path("ca.pem"), "-cert", files.path(name))
        run_tool("openssl", "ocsp", digest, *certificate_options, "-reqout", request_path)
        response = client.post(
            "/certificates/ocsp", Path(request_path).read_bytes(), "application/ocsp-request"
        )
        Path(response_path).write_bytes(response.content)
        output = run_tool(
            "openssl",
            "ocsp",
            digest,
            *certificate_options,
            "-respin",
            response_path,
            "-no_nonce",
            "-CAfile",
            files.path("root.pem"),
            "-verify_other",
            files.path("chain.pem"),
        )
        assert "Response verify OK" in output, output
        assert f"{files.path(name)}: {status}" in output, output
        if status == "revoked":
            assert "keyCompromise" in output


# --- GnuTLS ----------------------------------------------------------------------------------


@requires_tools("certtool")
def test_gnutls_verifies_the_chain_and_the_lists(files: IssuedFiles) -> None:
    chain = Path(files.path("whole.pem"))
    chain.write_bytes(
        Path(files.path("good.pem")).read_bytes() + Path(files.path("chain.pem")).read_bytes()
    )

    output = run_tool(
        "certtool",
        "--verify",
        "--infile",
        str(chain),
        "--load-ca-certificate",
        files.path("root.pem"),
        "--verify-purpose",
        "1.3.6.1.5.5.7.3.2",
    )
    assert "Verified. The certificate is trusted." in output
    for name, signer in (("complete", "ca"), ("shard", "ca")):
        output = run_tool(
            "certtool",
            "--verify-crl",
            "--infile",
            files.path(f"{name}.crl.pem"),
            "--load-ca-certificate",
            files.path(f"{signer}.pem"),
        )
        assert "Verified" in output, output


@requires_tools("ocsptool", "openssl")
def test_gnutls_verifies_ocsp_responses(files: IssuedFiles, client: Any) -> None:
    for name, status in (("good.pem", "good"), ("bad.pem", "revoked")):
        request_path, response_path = files.path("q.der"), files.path("a.der")
        certificate_options = (
            "--load-issuer",
            files.path("ca.pem"),
            "--load-cert",
            files.path(name),
        )
        run_tool(
            "ocsptool",
            "--generate-request",
            *certificate_options,
            "--outfile",
            request_path,
            "--nonce",
        )
        response = client.post(
            "/certificates/ocsp", Path(request_path).read_bytes(), "application/ocsp-request"
        )
        Path(response_path).write_bytes(response.content)
        output = run_tool("ocsptool", "--response-info", "--infile", response_path)
        assert f"Certificate Status: {status}" in output
        verified = run_tool(
            "ocsptool",
            "--verify-response",
            "--load-response",
            response_path,
            "--load-signer",
            files.path("responder.pem"),
        )
        assert "Success" in verified, verified


# --- pkilint ------------------------------------------------------------------------------------

# False positive: the linter rejects `urn:uuid:` URIs, which RFC 9562 §4 defines.
FALSE_POSITIVE = 'Invalid URI syntax: ""urn:uuid:'


def lint(tool: str, path: str, *options: str) -> list[str]:
    """Return the findings of a linter at level WARNING or above."""
    process = subprocess.run(
        [find_tool(tool) or tool, "lint", *options, "-s", "WARNING", "-f", "CSV", path],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "node_path" in process.stdout, process.stdout + process.stderr
    lines = process.stdout.splitlines()[1:]
    return [line for line in lines if line and FALSE_POSITIVE not in line]


@requires_tools("lint_pkix_cert", "lint_crl", "lint_ocsp_response")
def test_pkilint_reports_nothing(files: IssuedFiles, client: Any) -> None:
    for name in ("good", "ca", "root", "responder"):
        assert lint("lint_pkix_cert", files.path(f"{name}.pem")) == [], name
    for name in ("complete", "shard"):
        path = files.path(f"{name}.crl.pem")
        assert lint("lint_crl", path, "-t", "CRL", "-p", "PKIX") == [], name
    for row in (files.active, files.revoked):
        request_path = files.path("q.der")
        certificate = files.path("good.pem" if row == files.active else "bad.pem")
        issuer = ("-issuer", files.path("ca.pem"))
        run_tool("openssl", "ocsp", *issuer, "-cert", certificate, "-reqout", request_path)
        response = client.post(
            "/certificates/ocsp", Path(request_path).read_bytes(), "application/ocsp-request"
        )
        Path(files.path("a.der")).write_bytes(response.content)
        assert lint("lint_ocsp_response", files.path("a.der")) == []


@requires_tools("lint_pkix_signer_signee_cert_chain")
def test_pkilint_reports_no_error_in_the_chain(files: IssuedFiles) -> None:
    process = subprocess.run(
        [
            find_tool("lint_pkix_signer_signee_cert_chain") or "",
            "lint",
            files.path("ca.pem"),
            files.path("good.pem"),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "ERROR" not in process.stdout, process.stdout


@requires_tools("faketime", "openssl")
def test_openssl_rejects_an_expired_list(files: IssuedFiles) -> None:
    later = (datetime.now(UTC) + timedelta(days=8)).strftime("%Y-%m-%d %H:%M:%S")

    output = run_failing_tool(
        "faketime",
        later,
        "openssl",
        "verify",
        "-crl_check",
        "-partial_chain",
        "-CAfile",
        files.path("ca.pem"),
        "-CRLfile",
        files.path("complete.crl.pem"),
        files.path("good.pem"),
    )

    assert "CRL has expired" in output


def test_the_trusted_bundle_contains_the_whole_chain(files: IssuedFiles) -> None:
    bundle = authorities.trusted_certificates()
    chain = x509.load_pem_x509_certificates(Path(files.path("chain.pem")).read_bytes())
    assert set(bundle) == set(chain)


def test_all_tools_are_installed_when_required() -> None:
    if os.environ.get("PKI_PEERS") == "required":
        for tool in ("openssl", "certtool", "ocsptool", "pki", "nginx", "curl"):
            assert find_tool(tool), tool
    assert tool_marks("no-such-tool")

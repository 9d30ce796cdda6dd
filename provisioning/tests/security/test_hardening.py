"""Small rules that keep an attacker from seeing, forging or reaching something."""

import ipaddress
import logging
import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from rest_framework.test import APIClient

from core import opaque_ids
from core.push.admission import error
from core.rest.fields import StrictCharField
from events.services.outbound_http import is_allowed
from provisioning.logs import TextFormatter
from provisioning.refusals import Refusal
from provisioning.var import BASE
from tenants.admin.forms import text_field
from tenants.middleware import forwarded_address

OVERRIDE = "\u202e"  # reverses the direction of the text that follows


@pytest.mark.parametrize(
    "address",
    [
        "192.0.0.1",
        "192.0.0.9",
        "192.0.0.170",
        "192.0.0.255",
        "192.88.99.1",
        "240.0.0.1",
        "100.64.0.1",
        "2002:c0a8:0101::1",  # 6to4 of 192.168.1.1
        "2002:7f00:1::",
        "2001:0:c0a8:101:0:0:3f57:fefe",  # Teredo whose server is 192.168.1.1
        "2001:0:808:808:0:0:3f57:fefe",  # Teredo whose client is 192.168.1.1
        "64:ff9b::a00:1",
        "::ffff:10.0.0.1",
        "::10.0.0.1",
        "fec0::1",
        "3fff::1",
    ],
)
def test_webhooks_reach_no_special_purpose_address(address: str) -> None:
    assert not is_allowed(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"])
def test_webhooks_reach_public_addresses(address: str) -> None:
    assert is_allowed(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    ("forwarded_for", "address"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("203.0.113.7:51200", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("[2001:db8::7]:443", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("2001:db8::7", "2001:db8::7"),
        (" 198.51.100.1 , 203.0.113.7:1 ", "203.0.113.7"),
        ("203.0.113.7, [::ffff:10.0.0.9]:80", "203.0.113.7"),
        ("nonsense", "10.0.0.1"),
        ("", "10.0.0.1"),
    ],
)
@pytest.mark.parametrize("peer", ["10.0.0.1", "::ffff:10.0.0.1"])
def test_every_form_of_a_forwarded_address_is_understood(
    settings: Any, peer: str, forwarded_for: str, address: str
) -> None:
    settings.TRUSTED_PROXIES = [ipaddress.ip_network("10.0.0.0/8")]

    assert forwarded_address(peer, forwarded_for) == address


def test_text_logs_escape_control_characters() -> None:
    record = logging.LogRecord("x", logging.INFO, "", 1, "name %s", ("a\nINFO x: b\x1b[31m",), None)

    line = TextFormatter("%(levelname)s %(name)s: %(message)s").format(record)

    assert line == r"INFO x: name a\nINFO x: b\x1b[31m"


def test_text_logs_keep_the_lines_of_a_traceback_and_escape_its_message() -> None:
    try:
        raise ValueError("a\x1b[31m" + OVERRIDE)
    except ValueError as error:
        exc_info = (type(error), error, error.__traceback__)
    record = logging.LogRecord("x", logging.ERROR, "", 1, "failed", (), exc_info)

    text = TextFormatter("%(message)s").format(record)

    assert len(text.splitlines()) > 3
    assert r"ValueError: a\x1b[31m\u202e" in text


@pytest.mark.django_db
def test_no_cache_keeps_an_answer_of_the_api(as_device: Any, device: Any) -> None:
    for client, path in (
        (as_device(device), "/devices/me"),
        (APIClient(), "/devices"),
        (APIClient(), "/no/such/path"),
    ):
        assert client.get(path)["Cache-Control"] == "no-store"


@pytest.mark.parametrize("refusal", Refusal.__subclasses__())
def test_no_cache_keeps_a_refusal_of_a_server(refusal: type[Refusal]) -> None:
    assert ("cache-control", "no-store") in refusal().headers
    assert (
        error(refusal.status, refusal.code, refusal.detail).headers["Cache-Control"] == "no-store"
    )


@pytest.mark.parametrize("text", [f"TV {OVERRIDE}1", "TV\u20661", "TV\u20281", "TV\x071"])
def test_names_that_could_look_like_others_are_refused(text: str) -> None:
    with pytest.raises(Exception, match="format"):
        StrictCharField(max_length=64).run_validation(text)
    with pytest.raises(ValidationError):
        text_field("Name").clean(text)


def test_hebrew_and_arabic_names_are_accepted() -> None:
    assert StrictCharField().run_validation("מסך 1 שاشة") == "מסך 1 שاشة"


def test_ids_outside_the_server_reveal_no_count() -> None:
    ids = [opaque_ids.encode(number, purpose="test") for number in range(1, 200)]

    assert [opaque_ids.decode(text, purpose="test")[0] for text in ids] == list(range(1, 200))
    assert len(set(ids)) == 199
    assert len({text[:2] for text in ids}) > 50
    assert opaque_ids.decode("not an id", purpose="test") == []
    assert opaque_ids.encode(7, purpose="test") != opaque_ids.encode(7, purpose="other")


def is_sent_to_docker(path: str) -> bool:
    """Return whether `.dockerignore` lets a file into the build (patterns as in Go's `Match`)."""
    parts = path.split("/")
    parents = ["/".join(parts[: count + 1]) for count in range(len(parts))]
    patterns = (BASE / ".dockerignore").read_text().split()
    for pattern in patterns:
        name = pattern.removeprefix("**/")
        for parent in parents:
            candidate = parent.rpartition("/")[2] if pattern.startswith("**/") else parent
            if fnmatch(candidate, name):
                return False
    return True


def test_the_image_has_no_secrets_and_everything_that_it_needs() -> None:
    secret = ["deploy/secrets/secret_key", "deploy/tls/server-key.pem", "var/secret_key", ".env"]
    secret += ["var/certificates/ca-key.pem", ".git/config", "core/tests/__init__.py"]
    assert [path for path in secret if is_sent_to_docker(path)] == []
    needed = ["manage.py", "requirements.txt", "deploy/healthy.py", "provisioning/settings.py"]
    assert [path for path in needed if not is_sent_to_docker(path)] == []
    packages = [folder for folder in BASE.iterdir() if (folder / "__init__.py").exists()]
    files = [path.relative_to(BASE) for package in packages for path in package.rglob("*.py")]
    sources = [str(path) for path in files if "tests" not in path.parts]
    ignored = {path.split("/")[0] for path in sources if not is_sent_to_docker(path)}
    assert ignored == {"benchmarks"}


def test_compose_reads_secrets_only_from_folders_that_the_image_does_not_have() -> None:
    compose = (BASE / "compose.yaml").read_text()
    files = re.findall(r"file: (deploy/\S+)", compose) + re.findall(r"\./(deploy/tls)", compose)

    assert files
    assert [path for path in map(str.rstrip, files) if is_sent_to_docker(path.rstrip("}"))] == []


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_every_requirement_is_pinned_with_hashes(name: str) -> None:
    text = (BASE / name).read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("-c")]

    assert len(lines) > 30
    assert [line for line in lines if "==" not in line or "--hash=sha256:" not in line] == []


def test_the_proxy_hides_its_version_and_repeats_no_host() -> None:
    folder = Path(BASE) / "deploy/nginx"
    site = (folder / "provisioning.conf").read_text()

    assert "\nserver_tokens off;" in site
    assert "listen 80 default_server;" in site
    assert not re.search(r"return 30\d https://\$(host|http_host)", site)
    ciphers = re.search(r"ssl_ciphers ([^;]+);", site)
    assert ciphers is not None
    assert all("GCM" in name or "POLY1305" in name for name in ciphers[1].split(":"))
    assert all(name.startswith("ECDHE-") for name in ciphers[1].split(":"))


def test_every_test_that_the_documentation_names_exists() -> None:
    text = (BASE / "docs/security.md").read_text()
    named = set(re.findall(r"`([\w/]+/tests[\w/.]*)`", text))

    assert len(named) > 15
    assert [name for name in named if not (BASE / name).exists()] == []

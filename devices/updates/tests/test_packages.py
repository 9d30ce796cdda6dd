"""Packages: made, filled, released, withdrawn; immutable in between."""

import hashlib
import io
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.test import override_settings
from rest_framework.test import APIClient

from core.jws import decoded
from devices.configurations.services import effective
from devices.registry.models import Device
from devices.remote_control.tests.remote_control import claims, errors
from devices.updates.models import SoftwareUpdate, UpdateSigningKey
from devices.updates.services import packages, signing
from devices.updates.tests.rollouts import (
    CONTENT,
    apk,
    draft,
    fleet,
    person,
    product,
    released,
    spooled,
    started,
    statuses,
    tick,
)
from tenants.models import Role, Tenant

pytestmark = pytest.mark.django_db
PACKAGES = "/updates/packages"
BINARY = "application/octet-stream"

Member = Callable[..., APIClient]


@pytest.fixture
def publisher(acting: Tenant, member: Member) -> APIClient:
    return member(Role.ADMIN)


def made(publisher: APIClient, now: datetime, **said: Any) -> dict[str, Any]:
    product(now)
    body = {"product": "player", "version": "2.0.0", **said}
    answer = publisher.post(PACKAGES, body)
    assert answer.status_code == 201, answer.json()
    told: dict[str, Any] = answer.json()
    return told


def put(publisher: APIClient, package_id: str, content: bytes, query: str = "") -> Any:
    path = f"{PACKAGES}/{package_id}/file{query}"
    return publisher.put(path, content, content_type=BINARY)


def files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def test_a_package_goes_from_draft_over_its_file_to_released(
    publisher: APIClient, now: datetime, package_files: Path
) -> None:
    package = made(publisher, now, changelog="Faster.", target_models=["X96"])
    assert (package["state"], package["size"]) == ("draft", None)

    filled = put(publisher, package["id"], CONTENT)
    assert filled.status_code == 200, filled.json()
    assert filled.json()["size"] == len(CONTENT)
    assert filled.json()["sha256"] == hashlib.sha256(CONTENT).hexdigest()

    out = publisher.post(f"{PACKAGES}/{package['id']}/release")
    assert (out.status_code, out.json()["state"]) == (200, "released")
    assert [path.read_bytes() for path in files(package_files)] == [CONTENT]


def test_the_signature_is_by_the_key_that_stands_in_each_configuration(
    publisher: APIClient, device: Device, now: datetime
) -> None:
    package = made(publisher, now)
    signature = put(publisher, package["id"], CONTENT).json()["signature"]

    configuration, _ = effective.explain(device)
    (key,) = configuration.document["update_keys"]
    text, _, sign = signature.rpartition(".")
    public = Ed25519PublicKey.from_public_bytes(decoded(key["x"]))
    public.verify(decoded(sign), text.encode())
    said = claims(signature)
    assert said["package"] == package["id"]
    assert said["version"] == "2.0.0"
    assert said["sha256"] == hashlib.sha256(CONTENT).hexdigest()
    assert said["size"] == len(CONTENT)


def test_with_a_new_key_packages_are_signed_anew_and_devices_are_told(
    publisher: APIClient, device: Device, now: datetime
) -> None:
    package = made(publisher, now)
    put(publisher, package["id"], CONTENT)
    before = effective.explain(device)[0]

    answer = publisher.post("/updates/signing-keys")

    after = effective.explain(device)[0]
    row = SoftwareUpdate.objects.get()
    assert answer.json()["keys"] == after.document["update_keys"]
    assert before.version != after.version
    (key,) = after.document["update_keys"]
    text, _, sign = row.signature.rpartition(".")
    public = Ed25519PublicKey.from_public_bytes(decoded(key["x"]))
    public.verify(decoded(sign), text.encode())


def test_the_private_half_of_the_key_is_encrypted(
    acting: Tenant, now: datetime
) -> None:
    key = signing.current_key(now=now)

    row = UpdateSigningKey.objects.get(pk=key.pk)
    assert row.public_key not in row.private_key
    assert len(row.private_key) > 80
    assert signing.reencrypt() == {"update_signing_keys": 1}


def test_a_released_package_is_immutable(
    publisher: APIClient, now: datetime, tmp_path: Path
) -> None:
    row = released(now, tmp_path / "in")
    path = f"{PACKAGES}/{row.pk}"

    refused = [
        publisher.patch(path, {"changelog": "Better."}),
        put(publisher, str(row.pk), b"other"),
        publisher.post(f"{path}/release"),
        publisher.delete(path),
    ]

    assert [errors(each) for each in refused] == [
        (409, [("package_immutable", None)])
    ] * 4
    assert SoftwareUpdate.objects.get().sha256 == row.sha256


def test_a_draft_may_be_changed_and_dropped(
    publisher: APIClient,
    now: datetime,
    package_files: Path,
    django_capture_on_commit_callbacks: Any,
) -> None:
    path = f"{PACKAGES}/{made(publisher, now)['id']}"
    changed = publisher.patch(path, {"minimum_version": "1.5", "platform": "linux"})
    assert changed.json()["minimum_version"] == "1.5"
    with django_capture_on_commit_callbacks(execute=True):
        assert put(publisher, path.rpartition("/")[2], CONTENT).status_code == 200
        assert put(publisher, path.rpartition("/")[2], b"again").status_code == 200
    assert [each.read_bytes() for each in files(package_files)] == [b"again"]

    with django_capture_on_commit_callbacks(execute=True):
        assert publisher.delete(path).status_code == 204

    assert not files(package_files)


@pytest.mark.parametrize(
    ("said", "refusal"),
    [
        ({"version": "two"}, ("invalid_version", "version")),
        ({"version": "2.0"}, ("version_exists", "version")),  # that is 2.0.0
        ({"product": "kiosk"}, ("product_not_found", "product")),
        ({"minimum_version": "3.0"}, ("invalid_version", "minimum_version")),
        ({"minimum_version": "old"}, ("invalid_version", "minimum_version")),
        ({"target_models": [""]}, ("blank", "target_models.0")),
        ({"platform": "windows"}, ("invalid_choice", "platform")),
        ({"colour": "red"}, ("unknown_field", "colour")),
    ],
)
def test_a_package_that_cannot_be_is_refused(
    publisher: APIClient, now: datetime, said: dict[str, Any], refusal: tuple[str, str]
) -> None:
    made(publisher, now)

    answer = publisher.post(PACKAGES, {"product": "player", "version": "2.1", **said})

    assert errors(answer)[1] == [refusal]
    assert SoftwareUpdate.objects.count() == 1


def test_a_wrong_checksum_keeps_nothing(
    publisher: APIClient, now: datetime, package_files: Path
) -> None:
    package = made(publisher, now)

    wrong = put(publisher, package["id"], CONTENT, f"?sha256={'0' * 64}")
    none = put(publisher, package["id"], CONTENT, "?sha256=abc")
    right = put(
        publisher,
        package["id"],
        CONTENT,
        f"?sha256={hashlib.sha256(CONTENT).hexdigest().upper()}",
    )

    assert errors(wrong) == (400, [("wrong_checksum", None)])
    assert errors(none) == (400, [("invalid_package", "sha256")])
    assert right.status_code == 200
    assert len(files(package_files)) == 1


def test_an_upload_that_breaks_off_keeps_nothing(
    publisher: APIClient, now: datetime, package_files: Path, tmp_path: Path
) -> None:
    package = made(publisher, now)

    put_it: Any = publisher.generic
    answer = put_it(
        "PUT",
        f"{PACKAGES}/{package['id']}/file",
        CONTENT[:100],
        content_type=BINARY,
        CONTENT_LENGTH=str(len(CONTENT)),
        **{"wsgi.input": io.BytesIO(CONTENT[:100])},
    )

    assert errors(answer) == (400, [("upload_truncated", None)])
    assert not files(package_files)
    assert not files(tmp_path / "uploads")
    assert SoftwareUpdate.objects.get().sha256 == ""


@override_settings(PACKAGE_LIMIT_MB=1)
def test_what_is_too_large_is_refused_before_it_comes_and_while_it_does(
    publisher: APIClient, now: datetime, package_files: Path
) -> None:
    package = made(publisher, now)

    answer = put(publisher, package["id"], b"\0" * 1_000_001)

    assert errors(answer) == (400, [("upload_too_large", None)])
    assert not files(package_files)


def test_an_empty_file_is_no_package(publisher: APIClient, now: datetime) -> None:
    package = made(publisher, now)

    path = f"{PACKAGES}/{package['id']}/file"
    empty = publisher.generic("PUT", path, content_type=BINARY, CONTENT_LENGTH="0")
    assert errors(empty) == (
        400,
        [("invalid_package", None)],
    )
    assert errors(publisher.post(f"{PACKAGES}/{package['id']}/release")) == (
        409,
        [("package_without_file", None)],
    )


def test_what_an_android_package_says_of_itself_is_kept(
    publisher: APIClient, now: datetime
) -> None:
    package = made(publisher, now)

    told = put(publisher, package["id"], apk("com.example.tv", minSdkVersion=28)).json()

    assert told["apk"] == {
        "application_id": "com.example.tv",
        "version_name": "2.0.0",
        "version_code": 7,
        "minimum_sdk": 28,
        "target_sdk": None,
    }


def test_an_android_package_of_another_version_or_application_is_refused(
    publisher: APIClient, now: datetime, tmp_path: Path, package_files: Path
) -> None:
    released(now, tmp_path / "in", "1.9", content=apk("com.a", versionName="1.9"))
    package = made(publisher, now)
    kept = files(package_files)

    other_version = put(publisher, package["id"], apk("com.a", versionName="3.0"))
    other_application = put(publisher, package["id"], apk("com.b"))

    assert errors(other_version) == (400, [("invalid_apk", None)])
    assert errors(other_application) == (400, [("invalid_apk", None)])
    assert files(package_files) == kept


def test_a_withdrawn_package_stops_every_pending_installation(
    publisher: APIClient, acting: Tenant, now: datetime, tmp_path: Path
) -> None:
    fleet(acting, 3)
    row = started(released(now, tmp_path / "in"), person(acting), now)
    tick(now)
    assert statuses(row) == {"pending": 3}

    answer = publisher.post(
        f"{PACKAGES}/{row.package_id}/withdraw", {"reason": "It crashes."}
    )
    tick(now)

    row.refresh_from_db()
    assert answer.json()["withdrawn_because"] == "It crashes."
    assert (row.state, statuses(row)) == ("aborted", {"cancelled": 3})
    assert errors(
        publisher.post(f"{PACKAGES}/{row.package_id}/withdraw", {"reason": "?"})
    ) == (409, [("package_not_released", "package")])


def test_the_file_of_a_withdrawn_package_makes_room(
    publisher: APIClient,
    now: datetime,
    tmp_path: Path,
    package_files: Path,
    django_capture_on_commit_callbacks: Any,
) -> None:
    row = released(now, tmp_path / "in")
    packages.withdraw(package=row, reason="It crashes.", now=now)

    with django_capture_on_commit_callbacks(execute=True):
        tick(now)

    assert files(package_files) == []
    assert publisher.get(f"{PACKAGES}/{row.pk}").json()["sha256"] == row.sha256


@override_settings(PACKAGE_QUOTA_MB=1)
def test_a_tenants_packages_have_a_limit_together(
    publisher: APIClient, now: datetime, tmp_path: Path, package_files: Path
) -> None:
    released(now, tmp_path / "in", "1.9", content=b"\0" * 900_000)
    package = made(publisher, now)

    answer = put(publisher, package["id"], b"\0" * 200_000)

    assert errors(answer) == (409, [("package_quota_exceeded", None)])
    assert answer.json()["current"] == {"used": 900_000, "most": 1_000_000}
    assert len(files(package_files)) == 1


def test_a_file_that_nobody_has_looked_at_is_not_released(
    publisher: APIClient, now: datetime
) -> None:
    package = made(publisher, now)
    seen = put(publisher, package["id"], b"one").json()["sha256"]
    put(publisher, package["id"], b"two")
    path = f"{PACKAGES}/{package['id']}/release"

    assert errors(publisher.post(path, {"sha256": seen})) == (
        409,
        [("package_file_changed", None)],
    )


def test_a_product_of_another_name_signs_its_packages_anew(
    publisher: APIClient, now: datetime
) -> None:
    package = made(publisher, now)
    put(publisher, package["id"], CONTENT)
    of = SoftwareUpdate.objects.get().product_id

    publisher.patch(f"/updates/products/{of}", {"name": "signage"})

    told = publisher.get(f"{PACKAGES}/{package['id']}").json()
    assert claims(told["signature"])["product"] == told["product"] == "signage"


def test_only_who_makes_packages_may(
    acting: Tenant, member: Member, now: datetime
) -> None:
    row = draft(now)
    operator = member(Role.OPERATOR)

    assert operator.get(f"{PACKAGES}/{row.pk}").status_code == 200
    assert put(operator, str(row.pk), CONTENT).status_code == 403
    assert operator.post(PACKAGES, {"product": "p", "version": "1"}).status_code == 403


def test_a_file_that_belongs_to_nobody_is_dropped(
    acting: Tenant, now: datetime, tmp_path: Path, package_files: Path
) -> None:
    released(now, tmp_path / "in")
    orphan = package_files / "orphan"
    orphan.write_bytes(b"nobody's")
    soon = datetime.fromtimestamp(orphan.stat().st_mtime + 60, tz=now.tzinfo)

    assert packages.delete_orphaned_files(before=now) == 0
    assert packages.delete_orphaned_files(before=soon) == 1
    assert [path.read_bytes() for path in files(package_files)] == [CONTENT]


def test_products_have_names_of_their_own(publisher: APIClient) -> None:
    made_ = publisher.post(
        "/updates/products", {"name": "kiosk", "versioning": "semver"}
    )
    again = publisher.post("/updates/products", {"name": "kiosk"})
    path = f"/updates/products/{made_.json()['id']}"
    renamed = publisher.patch(path, {"name": "signage"})

    assert made_.status_code == 201
    assert errors(again) == (409, [("product_exists", "name")])
    assert renamed.json()["name"] == "signage"
    assert publisher.delete(path).status_code == 204
    assert publisher.get(path).status_code == 404


def test_a_product_with_packages_stays(publisher: APIClient, now: datetime) -> None:
    row = draft(now)

    answer = publisher.delete(f"/updates/products/{row.product_id}")

    assert errors(answer) == (409, [("product_in_use", None)])


def test_two_uploads_of_one_draft_leave_one_file(
    acting: Tenant,
    now: datetime,
    tmp_path: Path,
    package_files: Path,
    django_capture_on_commit_callbacks: Any,
) -> None:
    row = draft(now)
    with django_capture_on_commit_callbacks(execute=True):
        packages.receive(package=row, spooled=spooled(tmp_path / "in", b"one"), now=now)
        packages.receive(package=row, spooled=spooled(tmp_path / "in", b"two"), now=now)

    assert [path.read_bytes() for path in files(package_files)] == [b"two"]


def test_lists_of_packages_are_narrowed(
    publisher: APIClient, now: datetime, tmp_path: Path
) -> None:
    released(now, tmp_path / "in", "1.9")
    draft(now, "2.0.0")

    drafts = publisher.get(f"{PACKAGES}?state=draft").json()["results"]
    of_other = publisher.get(f"{PACKAGES}?product=kiosk").json()["results"]

    assert [each["version"] for each in drafts] == ["2.0.0"]
    assert of_other == []
    assert publisher.get(f"{PACKAGES}?state=").status_code == 400

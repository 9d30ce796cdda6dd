"""Check the Android package that a product's package has as its file."""

from typing import Any

from devices.updates import apk
from devices.updates.errors import InvalidApk, SignerNotConfirmed
from devices.updates.models import SoftwareProduct, SoftwareUpdate
from devices.updates.versions import VERSION_CODE, compare_reported, compare_versions

WEB_PAGE_STARTS = (b"<!doctype html", b"<html")
Format = SoftwareProduct.FileFormat


def read_file(package: SoftwareUpdate, path: str) -> apk.Apk | None:
    """Read the uploaded file of a package. Return None if it is no Android package.

    Raises:
        InvalidApk: the file is a web page. Or the product has Android packages, and the file
            is none. Or the Android package is damaged, is another version or application, or
            has a version code that Android would refuse.
    """
    with open(path, "rb") as file:
        start = file.read(512).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith(WEB_PAGE_STARTS):
        sentence = "The file is a web page. Was the download redirected to a sign-in page?"
        raise InvalidApk(sentence)
    try:
        content = apk.read_apk(path)
    except apk.MalformedApk as error:
        raise InvalidApk(str(error)) from error
    if content is None:
        if _has_android_packages(package.product):
            sentence = f"The packages of {package.product.name} are Android packages (APK)."
            raise InvalidApk(f"{sentence} The file is none.")
        return None
    _check_version(package, content.manifest)
    check_application(package, content.manifest.application_id, content.manifest.version_code)
    return content


def check_application(
    package: SoftwareUpdate, application_id: str, version_code: int | None
) -> None:
    """Compare an Android package with the released packages of its product.

    Raises:
        InvalidApk: the application id differs, or the version code is lower than the one of an
            older version. Android does not install such a package.
    """
    versioning = package.product.versioning
    for version, released in _released(package.product):
        if released["application_id"] != application_id:
            expected = released["application_id"]
            raise InvalidApk(f"The file is application {application_id}, not {expected}.")
        code: int | None = released["version_code"]
        is_older = compare_versions(version, package.version, versioning) == -1
        if is_older and code and version_code is not None and code > version_code:
            raise InvalidApk(
                f"The version code {version_code} is lower than {code}, the one of version"
                f" {version}. Android would not install the package."
            )


def check_signer(package: SoftwareUpdate, *, is_confirmed: bool) -> None:
    """Check that an Android package has the signer of the product's released packages.

    Raises:
        SignerNotConfirmed: it has another one or none, and the member has not confirmed it.
    """
    if (warning := signer_warning(package)) and not is_confirmed:
        raise SignerNotConfirmed(warning)


def signer_warning(package: SoftwareUpdate) -> str:
    """Return what a member has to confirm about the signer; empty if nothing."""
    signers = (package.apk or {}).get("signers")
    if signers is None:  # no Android package, or uploaded to an earlier release of the server
        return ""
    known = [row["signers"] for _, row in _released(package.product) if "signers" in row]
    if not signers:
        return "The file has no signature of scheme v2 or v3. Android would not install it."
    if signers and known and signers not in known:
        return (
            "The file is signed by another certificate than the product's released packages."
            " Android installs it only on devices without an earlier version."
        )
    return ""


def _has_android_packages(product: SoftwareProduct) -> bool:
    return product.file_format == Format.APK or bool(_released(product))


def _released(product: SoftwareProduct) -> list[tuple[str, dict[str, Any]]]:
    """Return the version and the APK values of each released Android package of a product."""
    rows = SoftwareUpdate.objects.filter(product=product).released().exclude(apk=None)
    pairs: Any = rows.values_list("version", "apk")
    return list(pairs)


def _check_version(package: SoftwareUpdate, manifest: apk.Manifest) -> None:
    name, code, versioning = (
        manifest.version_name,
        manifest.version_code,
        package.product.versioning,
    )
    if versioning == VERSION_CODE:
        if code is not None and str(code) != package.version:
            raise InvalidApk(f"The file has the version code {code}, not {package.version}.")
    elif name is not None and compare_reported(name, package.version, versioning) != 0:
        raise InvalidApk(f"The file is version {name}, not {package.version}.")

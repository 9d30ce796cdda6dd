"""Errors raised by the services of software updates."""

from collections.abc import Sequence

from core.errors import Busy, Conflict, Detail, Gone, Invalid, Missing, Refused, Unavailable


class ProductNotFound(Missing):
    code = "product_not_found"
    sentence = "The product does not exist."
    field = "product"


class InvalidProduct(Invalid):
    code = "invalid_product"


class ProductExists(Conflict):
    code = "product_exists"
    sentence = "A product with this name already exists."
    field = "name"


class ProductInUse(Conflict):
    code = "product_in_use"
    sentence = "The product has packages and cannot be deleted."


class PackageNotFound(Missing):
    code = "package_not_found"
    sentence = "The package does not exist."


class InvalidVersion(Invalid):
    code = "invalid_version"


class VersionExists(Conflict):
    code = "version_exists"

    def __init__(self, version: str) -> None:
        super().__init__(f"Version {version} already exists.", field="version")


class InvalidPackage(Invalid):
    code = "invalid_package"


class PackageImmutable(Conflict):
    """The package is no longer a draft; `current` has its state."""

    code = "package_immutable"

    def __init__(self, state: str) -> None:
        super().__init__(f"The package is {state}. Only a draft can be changed.")
        self.current = {"state": state}


class PackageWithoutFile(Conflict):
    code = "package_without_file"
    sentence = "The package has no file. Upload the file first."


class PackageNotReleased(Conflict):
    code = "package_not_released"

    def __init__(self, state: str) -> None:
        super().__init__(f"The package is {state}, not released.", field="package")
        self.current = {"state": state}


class UploadTooLarge(Invalid):
    code = "upload_too_large"

    def __init__(self, limit: int) -> None:
        super().__init__(f"A package can have at most {limit / 1e6:,.0f} MB.")


class LengthRequired(Invalid):
    """An upload declares no length, so the server cannot check whether it is complete."""

    code = "length_required"
    sentence = "Send the size of the file in the Content-Length header."


class QuotaExceeded(Conflict):
    """The file would exceed the tenant's quota; `current` has usage and quota in bytes."""

    code = "package_quota_exceeded"

    def __init__(self, used: int, quota: int) -> None:
        sentence = "The storage quota is used up. Withdraw packages you do not need."
        super().__init__(sentence)
        self.current = {"used": used, "most": quota}


class DiskFull(Unavailable):
    code = "disk_full"
    retry_after = 3600
    sentence = "The disk of this server is nearly full."


class PackageFileChanged(Conflict):
    """The file was replaced after the member had checked it."""

    code = "package_file_changed"
    sentence = "The file was replaced meanwhile. Check the new file first."


class UploadTruncated(Invalid):
    """The body was shorter than its declared length; nothing was stored."""

    code = "upload_truncated"
    sentence = "The upload was interrupted. Nothing was stored."


class WrongChecksum(Invalid):
    code = "wrong_checksum"
    sentence = "The SHA-256 of the uploaded file does not match. Nothing was stored."


class InvalidApk(Invalid):
    code = "invalid_apk"


class SignerNotConfirmed(Conflict):
    """A member must confirm that an Android package has another signer, or none."""

    code = "signer_not_confirmed"

    def __init__(self, warning: str) -> None:
        super().__init__(f"{warning} Confirm the signer to release it.", field="confirm_signer")


class PackageFileMissing(Unavailable):
    """The file of a package is missing, for example after an incomplete restore."""

    code = "package_file_missing"
    retry_after = 3600
    sentence = "The package's file is missing on the server."


class DownloadsBusy(Busy):
    """All download slots of the tenant are in use."""

    code = "downloads_busy"

    def __init__(self, wait: int) -> None:
        sentence = "All download slots are in use. Try again later."
        super().__init__(sentence, retry_after=wait)


class UpdateNotFound(Missing):
    """The update does not exist, or is not for the calling device."""

    code = "update_not_found"
    sentence = "There is no such update for this device."


class UpdateNotDue(Busy):
    """The device's maintenance window is closed."""

    code = "update_not_due"

    def __init__(self, wait: int) -> None:
        super().__init__("The maintenance window is closed.", retry_after=wait)


class UpdateEnded(Gone):
    """The update, or this attempt, has ended; no more feedback is accepted."""

    code = "update_ended"

    def __init__(self, status: str) -> None:
        super().__init__(f"The update has ended: {status}.")
        self.current = {"status": status}


class RolloutNotFound(Missing):
    code = "rollout_not_found"
    sentence = "The rollout does not exist."


class InvalidRollout(Invalid):
    """The settings of a rollout are invalid; `details` lists every error.

    Args:
        errors: pairs of field and sentence.
    """

    code = "invalid_rollout"

    def __init__(self, errors: Sequence[tuple[str, str]]) -> None:
        super().__init__(errors[0][1], field=errors[0][0])
        self.details = [
            Detail(code=self.code, sentence=sentence, field=field) for field, sentence in errors
        ]


class NoEligibleDevices(Conflict):
    """No device would be updated; `current` has the number of excluded devices for each reason."""

    code = "rollout_without_devices"

    def __init__(self, left_out: dict[str, int]) -> None:
        super().__init__(_SENTENCES[max(left_out, key=left_out.__getitem__, default="")])
        self.current = {"left_out": left_out}


_SENTENCES = {
    "": "No device matches the filter.",
    "model": "The package is for other models than these devices.",
    "minimum_version": "The devices run a version older than the minimum version.",
    "up_to_date": "The devices already run this version.",
    "newer": "The devices run a newer version. Downgrades are not allowed.",
    "android_version": "The package needs a newer Android than the devices have.",
    "abi": "The package has no native libraries for the processors of the devices.",
}


class RolloutStateConflict(Conflict):
    """The rollout's state does not allow the action; `current` has the state."""

    code = "rollout_state"

    def __init__(self, state: str, sentence: str = "") -> None:
        super().__init__(sentence or f"The rollout is {state}.")
        self.current = {"state": state}


class SecondApproverRequired(Refused):
    code = "second_approver_required"
    sentence = "Another member must approve the rollout."


class InvalidUpdatePolicy(Invalid):
    code = "invalid_policy"

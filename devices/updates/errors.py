"""How software updates say no."""

from collections.abc import Sequence

from core.errors import (
    Busy,
    Conflict,
    Detail,
    Gone,
    Invalid,
    Missing,
    Refused,
    Unavailable,
)


class NoSuchProduct(Missing):
    code = "product_not_found"
    sentence = "There is no such product."
    field = "product"


class InvalidProduct(Invalid):
    code = "invalid_product"


class ProductExists(Conflict):
    code = "product_exists"
    sentence = "There is a product of this name."
    field = "name"


class ProductInUse(Conflict):
    code = "product_in_use"
    sentence = "There are packages of this product."


class NoSuchPackage(Missing):
    code = "package_not_found"
    sentence = "There is no such package."


class InvalidVersion(Invalid):
    code = "invalid_version"


class VersionExists(Conflict):
    code = "version_exists"

    def __init__(self, version: str) -> None:
        super().__init__(f"There is version {version} already.", field="version")


class InvalidPackage(Invalid):
    code = "invalid_package"


class PackageIsReleased(Conflict):
    """It is immutable now; `current` says in which state."""

    code = "package_immutable"

    def __init__(self, state: str) -> None:
        super().__init__(f"The package is {state}: it is not changed any more.")
        self.current = {"state": state}


class PackageWithoutFile(Conflict):
    code = "package_without_file"
    sentence = "Upload the package's file first."


class PackageNotReleased(Conflict):
    code = "package_not_released"

    def __init__(self, state: str) -> None:
        super().__init__(f"The package is {state}.", field="package")
        self.current = {"state": state}


class UploadTooLarge(Invalid):
    code = "upload_too_large"

    def __init__(self, most: int) -> None:
        super().__init__(f"A package has at most {most / 1e6:,.0f} MB.")


class LengthRequired(Invalid):
    """Without it nobody could tell whether all of it came."""

    code = "length_required"
    sentence = "Say how long the file is: Content-Length."


class QuotaExceeded(Conflict):
    """`current` says how many bytes the tenant's packages have, and may have."""

    code = "package_quota_exceeded"

    def __init__(self, used: int, most: int) -> None:
        sentence = "There is no room for it: withdraw packages that nobody needs."
        super().__init__(sentence)
        self.current = {"used": used, "most": most}


class NoRoomHere(Unavailable):
    code = "disk_full"
    retry_after = 3600
    sentence = "The disk of this server is nearly full."


class OtherFile(Conflict):
    """Another file has come since it was looked at."""

    code = "package_file_changed"
    sentence = "Another file has come meanwhile: look at it first."


class UploadTruncated(Invalid):
    """What came is not all; nothing of it is kept."""

    code = "upload_truncated"
    sentence = "The upload broke off: nothing of it was kept."


class WrongChecksum(Invalid):
    code = "wrong_checksum"
    sentence = "What came has another SHA-256: nothing of it was kept."


class InvalidApk(Invalid):
    code = "invalid_apk"


class FileIsMissing(Unavailable):
    """Its record is here, its file is not: a back-up was restored without it."""

    code = "package_file_missing"
    retry_after = 3600
    sentence = "The package's file is not here."


class DownloadsBusy(Busy):
    """So many devices of the tenant download that the next one waits for its turn."""

    code = "downloads_busy"

    def __init__(self, wait: int) -> None:
        super().__init__("Other devices download now.", retry_after=wait)


class NoUpdateForThisDevice(Missing):
    """There is none, or the calling device is not meant to have it."""

    code = "update_not_found"
    sentence = "There is no such update for this device."


class NotYet(Busy):
    """Its maintenance window is closed, or the rollout rests."""

    code = "update_not_yet"

    def __init__(self, wait: int) -> None:
        super().__init__("It is not time for this update yet.", retry_after=wait)


class UpdateIsOver(Gone):
    """Whatever the device says of it now, it comes too late."""

    code = "update_over"

    def __init__(self, status: str) -> None:
        super().__init__(f"This update is over: {status}.")
        self.current = {"status": status}


class InvalidFeedback(Invalid):
    code = "invalid_feedback"


class NoSuchRollout(Missing):
    code = "rollout_not_found"
    sentence = "There is no such rollout."


class InvalidRollout(Invalid):
    """The terms of a rollout that cannot be; one detail for each."""

    code = "invalid_rollout"

    def __init__(self, faults: Sequence[tuple[str, str]]) -> None:
        super().__init__(faults[0][1], field=faults[0][0])
        self.details = [
            Detail(code=self.code, sentence=sentence, field=field)
            for field, sentence in faults
        ]


class RolloutOfNothing(Conflict):
    """The filter finds no device that would be updated; `current` says why by numbers."""

    code = "rollout_of_nothing"

    def __init__(self, left_out: dict[str, int]) -> None:
        super().__init__(
            _SENTENCES[max(left_out, key=left_out.__getitem__, default="")]
        )
        self.current = {"left_out": left_out}


_SENTENCES = {
    "": "The filter finds no device.",
    "model": "The package is for other models than these devices.",
    "minimum_version": "These devices have a version that is too old for it.",
    "up_to_date": "These devices have this version already.",
    "newer": "These devices have a newer version: this would be a downgrade.",
}


class RolloutDecided(Conflict):
    """Its state does not allow this; `current` says which it is."""

    code = "rollout_state"

    def __init__(self, state: str, sentence: str = "") -> None:
        super().__init__(sentence or f"The rollout is {state}.")
        self.current = {"state": state}


class SecondPersonNeeded(Refused):
    code = "second_person_needed"
    sentence = "Somebody else has to approve it."


class InvalidUpdatePolicy(Invalid):
    code = "invalid_policy"

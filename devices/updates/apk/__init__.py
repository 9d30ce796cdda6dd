"""Read Android packages (APKs)."""

from devices.updates.apk.binary import MalformedApk
from devices.updates.apk.manifest import Manifest
from devices.updates.apk.reader import Apk, read_apk

__all__ = ("Apk", "MalformedApk", "Manifest", "read_apk")

"""Options of the agent, from a TOML file."""

import hashlib
import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from provisioning_agent.enrollment import Identity
from provisioning_agent.keys import DeviceKey, FileKey, Pkcs11Key

DEFAULT_FILE = Path("/etc/provisioning-agent/agent.toml")
DEFAULT_STATE = Path("/var/lib/provisioning-agent")
DEFAULT_HOOKS = Path("/etc/provisioning-agent/hooks")
IDENTITY_LISTS = ("mac_addresses", "abis")


class OptionsInvalid(Exception):
    """The file is missing, is no TOML, or has a wrong or unknown option."""


@dataclass(slots=True, kw_only=True)
class Options:
    """The options of the file. Environment variables replace `enrollment_token` and `pin`.

    Attributes:
        url: address of the server.
        ca_file: CAs that sign the server's certificate; empty for those of the system.
        key: `{"kind": "file"}`, or `{"kind": "pkcs11", "module", "token", "label"}`.
        identity: fields of `Identity`.
    """

    url: str
    enrollment_token: str = ""
    ca_file: str = ""
    state_folder: Path = DEFAULT_STATE
    hooks_folder: Path = DEFAULT_HOOKS
    hook_timeout: float = 300.0
    sample_interval: float = 300.0
    use_push: bool = True
    key: dict[str, str]
    identity: Identity

    def device_key(self) -> DeviceKey:
        """Return the key of the device.

        Raises:
            OptionsInvalid: `key` is incomplete, or its kind is unknown.
        """
        match self.key.get("kind", "file"):
            case "file":
                return FileKey(Path(self.key.get("path") or self.state_folder / "device.key"))
            case "pkcs11":
                pin = os.environ.get("PROVISIONING_AGENT_PIN") or self.key.get("pin", "")
                try:
                    names = {name: self.key[name] for name in ("module", "token", "label")}
                except KeyError as error:
                    raise OptionsInvalid(f"[key] needs {error}.") from error
                return Pkcs11Key(**names, pin=pin)
            case kind:
                raise OptionsInvalid(f"[key] kind: {kind} is not file or pkcs11.")


def read_options(path: Path) -> Options:
    """Read the options.

    Raises:
        OptionsInvalid: see there.
    """
    try:
        values = tomllib.loads(path.read_text())
    except FileNotFoundError as error:
        raise OptionsInvalid(f'{path} does not exist. Create it with: url = "https://…"') from error
    except (OSError, ValueError) as error:
        raise OptionsInvalid(f"{path}: {error}") from error
    if token := os.environ.get("PROVISIONING_AGENT_ENROLLMENT_TOKEN"):
        values["enrollment_token"] = token
    identity, key = values.pop("identity", {}), values.pop("key", {})
    if not re.fullmatch("https?://[^ ]+", str(values.get("url", ""))):
        raise OptionsInvalid(f"{path}: url must be an address such as https://devices.example.com.")
    for name in ("state_folder", "hooks_folder"):
        if name in values:
            values[name] = Path(values[name])
    try:
        return Options(**values, key=key, identity=_identity(identity))
    except TypeError as error:
        raise OptionsInvalid(f"{path}: {_plain(error)}") from error


def _identity(values: dict[str, Any]) -> Identity:
    """Return the identity. Without identifiers it is derived from the machine."""
    for name in IDENTITY_LISTS:
        if name in values:
            values[name] = tuple(values[name])
    if not values.keys() & {"serial_number", "android_id", "mac_addresses"}:
        values["serial_number"] = machine_serial_number()
    values.setdefault("os_version", os_version())
    return Identity(**values)


def machine_serial_number(root: Path = Path("/")) -> str:
    """Return the serial number of the machine; on a machine without one, a hash of its id.

    `/etc/machine-id` must not leave the machine as it is (machine-id(5)).
    """
    for name in ("proc/device-tree/serial-number", "sys/class/dmi/id/product_serial"):
        try:
            text = (root / name).read_text().strip("\0 \n")
        except OSError:
            continue
        if len(text) >= 6:
            return text[:64]
    try:
        machine_id = (root / "etc/machine-id").read_text().strip()
    except OSError:
        return ""
    digest = hashlib.sha256(b"provisioning-agent" + machine_id.encode()).hexdigest()
    return f"machine-{digest[:24]}" if machine_id else ""


def os_version(root: Path = Path("/")) -> str:
    """Return the name and version of the operating system (os-release(5))."""
    try:
        lines = (root / "etc/os-release").read_text().splitlines()
    except OSError:
        return ""
    values = dict(line.split("=", 1) for line in lines if "=" in line)
    return values.get("PRETTY_NAME", "").strip("\"'")[:64]


def _plain(error: TypeError) -> str:
    """Return `unknown option x` for the message of Python."""
    match = re.search("unexpected keyword argument '(.+)'", str(error))
    return f"unknown option {match[1]}." if match else str(error)

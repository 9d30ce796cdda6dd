"""Register a device with an enrollment token, or pair it with a code."""

import asyncio
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from provisioning_agent.certificates import ACKNOWLEDGE_PATH
from provisioning_agent.http import Response
from provisioning_agent.keys import DeviceKey, csr_pem
from provisioning_agent.session import Session
from provisioning_agent.signatures import ALGORITHMS

MAX_INTERVAL = 60.0  # seconds between two polls of a pairing


class Refused(Exception):
    """The server refuses the registration or the pairing for good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a device reports about itself when it registers. At least one identifier is needed."""

    serial_number: str = ""
    android_id: str = ""
    mac_addresses: tuple[str, ...] = ()
    manufacturer: str = ""
    model: str = ""
    os_version: str = ""
    app_version: str = ""
    screen_width: int = 0
    screen_height: int = 0
    abis: tuple[str, ...] = ()
    name: str = ""

    def message(self) -> dict[str, Any]:
        """Return the fields that have a value."""
        return {name: value for name, value in asdict(self).items() if value}

    @property
    def common_name(self) -> str:
        return self.serial_number or self.android_id or "".join(self.mac_addresses[:1])


async def register(
    session: Session, key: DeviceKey, identity: Identity, *, enrollment_token: str
) -> Response:
    """Register the device and get its certificate. It may be repeated after a lost response.

    Returns:
        The response. With 200 or 201, the token and the certificate are saved.

    Raises:
        KeyUnavailable: see `DeviceKey`.
    """
    body = {
        **identity.message(),
        "csr": csr_pem(key, common_name=identity.common_name),
        "signature_algorithms": list(ALGORITHMS),
    }
    response = await session.http.request(
        "register", "POST", "/devices/auto-register", body, token=enrollment_token
    )
    if response.is_success:
        _accept(session, response)
    return response


async def pair(
    session: Session, identity: Identity, *, show: Callable[[dict[str, Any]], None]
) -> None:
    """Pair the device (RFC 8628). It ends when a member has approved the code.

    Args:
        show: shows `user_code` and `verification_uri` to the person in front of the device.

    Raises:
        Refused: the server or a member refuses, or the code has expired.
    """
    started = await session.http.request("pair", "POST", "/devices/pair", identity.message())
    if not started.is_success:
        raise Refused(started.error_code or f"status {started.status}")
    show(started.body)
    interval = float(started.body["interval"])
    body = {"device_code": started.body["device_code"]}
    while True:
        await asyncio.sleep(interval)
        response = await session.http.request("pair", "POST", "/devices/pair/token", body)
        if response.is_success:
            _accept(session, response)
            return
        if response.error_code == "slow_down":
            interval = min(MAX_INTERVAL, interval + 5)
        elif response.error_code != "authorization_pending" and not response.is_temporary:
            raise Refused(response.error_code or f"status {response.status}")


def _accept(session: Session, response: Response) -> None:
    """Save the token and the certificate. A new record at the server starts with no state."""
    state, device_id = session.state, str(response.body["device"]["id"])
    if device_id != state.device_id:
        state.forget_server()
    state.device_id, state.token = device_id, response.body["token"]
    if certificate := response.body.get("certificate"):
        state.certificate = certificate.get("certificate", "")
        state.chain = certificate.get("chain", "")
        serial_number = certificate.get("serial_number", "")
        state.certificate_serial_number = serial_number
        session.put("acknowledge", ACKNOWLEDGE_PATH, {"serial_number": serial_number})
    session.save()

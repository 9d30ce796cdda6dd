"""Get, renew and acknowledge the device's certificate."""

from typing import Any

from provisioning_agent.http import Response
from provisioning_agent.keys import DeviceKey, csr_pem
from provisioning_agent.session import Session

PATH = "/devices/me/certificate"
KEY_IN_USE = "key_in_use"  # the key was compromised, or another device has it
ACKNOWLEDGE_PATH = f"{PATH}/acknowledge"


async def follow(session: Session, key: DeviceKey, steps: dict[str, Any], name: str) -> None:
    """Do what the next steps of a connect require for the certificate.

    The certificate is stored before it is acknowledged. Until then the server keeps the former
    one valid, so that no crash leaves the device without a certificate.

    Args:
        name: common name in the CSR.

    Raises:
        KeyUnavailable: see `DeviceKey`.
    """
    current = steps.get("certificate_serial_number")
    if steps.get("certificate_renewal_due") or current is None:
        body = {"csr": csr_pem(key, common_name=name)}
        response = await session.call("renew", "POST", PATH, body)
        if response.error_code == KEY_IN_USE:
            key.replace()  # the next connect sends a CSR for the new key
        await _store(session, response)
    elif current != session.state.certificate_serial_number:
        await _store(session, await session.call("certificate", "GET", PATH))


async def _store(session: Session, response: Response) -> None:
    if not response.is_success:
        return
    serial_number = response.body["serial_number"]
    if not session.state.chain:
        session.state.command_keys_until = 0.0  # from now on, a CA must have endorsed them
    session.state.certificate = response.body.get("certificate", "")
    session.state.chain = response.body.get("chain") or session.state.chain
    session.state.certificate_serial_number = serial_number
    session.put("acknowledge", ACKNOWLEDGE_PATH, {"serial_number": serial_number})
    session.save()
    await session.flush()

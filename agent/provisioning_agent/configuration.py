"""Fetch and apply the configuration and the settings."""

from typing import Any

from provisioning_agent.hooks import Hooks
from provisioning_agent.session import Session

PATH = "/devices/me/configuration"
SETTINGS_PATH = "/devices/me/settings"


class SettingRefused(Exception):
    """The server does not let the device change the setting. The code says why."""


class ServerUnavailable(Exception):
    """There is no response now. Try again later."""


async def apply_configuration(session: Session, hooks: Hooks) -> None:
    """Fetch the configuration, let the hook `configuration` apply it, and report the outcome.

    The hook gets `{"version", "configuration", "previous"}`. If it fails, its reason is
    reported, with the keys in its value `failed_keys`. Without a hook, the configuration is
    stored only.
    """
    state = session.state
    headers = {"If-None-Match": f'"{state.configuration_version}"'}
    response = await session.call("configuration", "GET", PATH, headers=headers)
    if response.status == 200:
        version, configuration = response.body["version"], response.body["configuration"]
    elif response.status == 304:
        version, configuration = state.configuration_version, state.configuration
    else:
        return
    report = {"version": version, "outcome": "applied"}
    if hooks.exists("configuration"):
        values = {"version": version, "configuration": configuration}
        result = await hooks.run("configuration", {**values, "previous": state.configuration})
        if not result.ok:
            keys = [str(key) for key in result.values.get("failed_keys") or ()]
            report |= {"outcome": "failed", "reason": result.reason, "failed_keys": keys}
    state.configuration_version, state.configuration = version, configuration
    state.update_keys = configuration.get("update_keys") or []
    session.put("reported", f"{PATH}/reported", report)
    session.save()
    await session.flush()


async def apply_settings(session: Session, hooks: Hooks) -> None:
    """Fetch the settings and let the hook `settings` apply them: `{"settings": {key: value}}`."""
    response = await session.call("settings", "GET", SETTINGS_PATH)
    if response.status != 200:
        return
    settings = {key: item["value"] for key, item in response.body["settings"].items()}
    if hooks.exists("settings"):
        result = await hooks.run("settings", {"settings": settings})
        if not result.ok:
            return  # it is tried again at the next connect
    session.state.settings, session.state.settings_version = settings, response.body["version"]
    session.save()


async def change_setting(session: Session, key: str, value: Any) -> None:
    """Change a setting, because the person in front of the device has done so.

    If the response to an earlier attempt was lost, the server may have the value already. This
    counts as a success.

    Raises:
        SettingRefused: there is no such setting, it is locked, only members may change it, or
            the value is not valid.
        ServerUnavailable: see there.
    """
    response = await session.call("settings", "GET", SETTINGS_PATH)
    if response.status != 200:
        raise ServerUnavailable
    setting = response.body["settings"].get(key)
    if setting is None:
        raise SettingRefused("unknown_setting")
    if setting["value"] != value:
        change = {"value": value, "version": setting["version"]}
        body = {"settings": {key: change}}
        response = await session.call("settings", "PATCH", SETTINGS_PATH, body)
    if response.is_temporary:
        raise ServerUnavailable
    if not response.is_success:
        raise SettingRefused(response.error_code)
    session.state.settings[key] = value
    session.save()

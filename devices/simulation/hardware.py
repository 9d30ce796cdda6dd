"""The simulated hardware: the screen, the player and the installer of a device."""

import asyncio
from dataclasses import dataclass
from random import Random
from typing import Any

from provisioning_agent.hooks import HookResult, Hooks

from devices.simulation.device_data import FIXED_ORIENTATION, DeviceProfile
from devices.simulation.screen import DEFAULT_WIDTH, Screen

COMMANDS = ("tap", "swipe", "pinch", "rotate", "keypress", "input", "reload", "restart", "reboot")
GESTURES = ("tap", "pinch", "rotate")  # never fail
RESTART_SECONDS = {"reboot": 3.0, "restart": 1.0}
INSTALL_ERRORS = (
    ("no_space", "Not enough free disk space."),
    ("install_failed", "The installer exited with code 12."),
    ("did_not_start", "The player did not start. The previous version was restored."),
)


@dataclass(slots=True, kw_only=True)
class Hardware:
    """The hooks of a simulated device.

    Args:
        seed: decides how each installation ends.
        random: decides which commands fail.
        install_seconds: shortest and longest time of an installation.
    """

    profile: DeviceProfile
    screen: Screen
    seed: str
    random: Random
    command_failure_probability: float
    update_failure_probability: float
    install_seconds: tuple[float, float]
    boots: int = 1  # starts of the operating system

    def hooks(self) -> Hooks:
        hooks = Hooks()
        hooks.add("configuration", self.apply_configuration)
        hooks.add("install", self.install)
        hooks.add("command-screenshot", self.screenshot)
        for type_ in (*COMMANDS, "set_volume", "wake_up"):
            hooks.add(f"command-{type_}", self._command(type_))
        return hooks

    def apply_configuration(self, values: dict[str, Any]) -> HookResult:
        configuration = values["configuration"]
        self.screen.volume = configuration.get("volume", 30)
        is_portrait = configuration.get("orientation", "").endswith("portrait")
        if is_portrait and self.profile.condition == FIXED_ORIENTATION:
            reason = "The panel does not support portrait orientation."
            return HookResult(False, reason, {"failed_keys": ["orientation"]})
        self.screen.is_upright = is_portrait
        return HookResult()

    async def screenshot(self, values: dict[str, Any]) -> HookResult:
        if self._fails():
            return HookResult(ok=False, reason="The player did not respond.")
        width = values["max_width"] or DEFAULT_WIDTH
        return HookResult(values={"image": await asyncio.to_thread(self.screen.picture, width)})

    def _command(self, type_: str) -> Any:
        async def execute(parameters: dict[str, Any]) -> HookResult:
            if type_ not in GESTURES and self._fails():
                return HookResult(ok=False, reason="The player did not respond.")
            await asyncio.sleep(RESTART_SECONDS.get(type_, 0))
            self._apply(type_, parameters)
            return HookResult()

        return execute

    def _fails(self) -> bool:
        return self.random.random() < self.command_failure_probability

    def _apply(self, type_: str, parameters: dict[str, Any]) -> None:
        screen = self.screen
        match type_:
            case "tap" | "pinch" | "rotate":
                screen.touch(parameters)
            case "swipe":
                screen.touch(parameters["from"])
                screen.touch(parameters["to"])
            case "keypress":
                screen.press(parameters["key"])
            case "input":
                screen.typed += parameters["text"]
            case "set_volume":
                screen.volume = parameters["volume"]
            case "wake_up":
                screen.is_awake = True
            case "reload" | "restart" | "reboot":
                self.boots += type_ == "reboot"
                screen.loads += 1
                screen.typed, screen.last_key, screen.touches = "", "", []

    async def install(self, values: dict[str, Any]) -> HookResult:
        """Install a version. A rollback never fails, because the old version is on the disk."""
        random = Random(f"{self.seed}-{values['version']}-{values['attempt']}")
        fails = random.random() < self.update_failure_probability and not values["rollback"]
        await asyncio.sleep(random.uniform(*self.install_seconds))
        if not fails:
            return HookResult()
        code, message = random.choice(INSTALL_ERRORS)
        return HookResult(False, message, {"error_code": code})

"""The screen of a simulated device, drawn when a screenshot is requested."""

import colorsys
import io
from dataclasses import dataclass, field
from typing import Any

from PIL import Image, ImageDraw, ImageFont

SIZE = (1920, 1080)  # pixels, in landscape orientation
DEFAULT_WIDTH = 960  # pixels, of a screenshot
MAX_TOUCHES = 20
LIGHT, GREY = (245, 247, 250), (160, 170, 185)


@dataclass(slots=True)
class Screen:
    """A page with the device name that shows the effects of remote control commands."""

    name: str
    hue: float  # of the background, 0 to 1
    volume: int = 30  # percent
    is_upright: bool = False
    is_awake: bool = True
    loads: int = 1  # of the page
    typed: str = ""
    last_key: str = ""
    touches: list[tuple[int, int]] = field(default_factory=list)

    @property
    def size(self) -> tuple[int, int]:
        return (SIZE[1], SIZE[0]) if self.is_upright else SIZE

    def touch(self, position: dict[str, Any]) -> None:
        """Record a touch at `x` and `y` (pixels). Keep the last `MAX_TOUCHES`."""
        self.touches = [*self.touches, (position["x"], position["y"])][-MAX_TOUCHES:]

    def press(self, key: str) -> None:
        """Apply a key press. Keys without an effect are only shown."""
        self.last_key = key
        step = {"volume_up": 5, "volume_down": -5}.get(key, 0)
        self.volume = 0 if key == "mute" else min(100, max(0, self.volume + step))
        if key == "backspace":
            self.typed = self.typed[:-1]
        if key == "power":
            self.is_awake = not self.is_awake

    def picture(self, width: int = DEFAULT_WIDTH) -> bytes:
        """Draw the screen as PNG, at most `width` pixels wide."""
        full_size = self.size
        scale = min(1.0, width / full_size[0])
        size = (round(full_size[0] * scale), round(full_size[1] * scale))
        image = Image.new("RGB", size, (8, 10, 14))
        if self.is_awake:
            self._draw(ImageDraw.Draw(image), size, scale)
        data = io.BytesIO()
        image.save(data, "PNG")
        return data.getvalue()

    def _draw(self, draw: Any, size: tuple[int, int], scale: float) -> None:
        width, height = size
        for band in range(12):
            value = 0.22 + 0.02 * band
            red, green, blue = colorsys.hsv_to_rgb(self.hue, 0.55, value)
            colour = tuple(round(255 * channel) for channel in (red, green, blue))
            top, bottom = height * band // 12, height * (band + 1) // 12
            draw.rectangle((0, top, width, bottom), fill=colour)
        unit = max(10, width // 24)
        large, small = (ImageFont.load_default(unit * 1.6), ImageFont.load_default(unit * 0.6))
        draw.text((unit, unit), self.name, LIGHT, large)
        draw.text((unit, unit * 3.2), f"Page loads: {self.loads}", GREY, small)
        if self.last_key:
            draw.text((unit, unit * 4.2), f"Last key: {self.last_key}", GREY, small)
        if self.typed:
            draw.text((unit, unit * 5.4), self.typed[-40:], LIGHT, small)
        bar_top = height - unit
        draw.rectangle((unit, bar_top, width - unit, bar_top + unit // 4), fill=(60, 66, 78))
        volume_end = unit + (width - 2 * unit) * self.volume // 100
        draw.rectangle((unit, bar_top, volume_end, bar_top + unit // 4), fill=LIGHT)
        for touch_x, touch_y in self.touches:
            x, y, r = touch_x * scale, touch_y * scale, unit / 3
            bounds = (x - r, y - r, x + r, y + r)
            draw.ellipse(bounds, outline=(255, 210, 70), width=3)

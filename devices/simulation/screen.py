"""What a simulated box shows: drawn when somebody wants a picture of it. Pure."""

import colorsys
import io
from dataclasses import dataclass, field
from typing import Any

from PIL import Image, ImageDraw, ImageFont

SIZE = (1920, 1080)  # pixels, when it is not upright
USUAL_WIDTH = 960  # of a picture
MOST_MARKS = 20
LIGHT, FAINT = (245, 247, 250), (160, 170, 185)


@dataclass(slots=True)
class Screen:
    """A sign with the box's name, and the traces of what was done to it."""

    name: str
    hue: float  # 0 to 1
    volume: int = 30
    is_upright: bool = False
    is_awake: bool = True
    loads: int = 1  # how often the page was loaded
    typed: str = ""
    last_key: str = ""
    marks: list[tuple[int, int]] = field(default_factory=list)

    @property
    def size(self) -> tuple[int, int]:
        return (SIZE[1], SIZE[0]) if self.is_upright else SIZE

    def touch(self, at: dict[str, Any]) -> None:
        self.marks = [*self.marks, (at["x"], at["y"])][-MOST_MARKS:]

    def press(self, key: str) -> None:
        self.last_key = key
        step = {"volume_up": 5, "volume_down": -5}.get(key, 0)
        self.volume = 0 if key == "mute" else min(100, max(0, self.volume + step))
        if key == "backspace":
            self.typed = self.typed[:-1]
        if key == "power":
            self.is_awake = not self.is_awake

    def picture(self, width: int = USUAL_WIDTH) -> bytes:
        """As PNG, so many pixels wide at most."""
        whole = self.size
        scale = min(1.0, width / whole[0])
        size = (round(whole[0] * scale), round(whole[1] * scale))
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
            colour = tuple(round(255 * part) for part in (red, green, blue))
            top, bottom = height * band // 12, height * (band + 1) // 12
            draw.rectangle((0, top, width, bottom), fill=colour)
        unit = max(10, width // 24)
        large, small = (
            ImageFont.load_default(unit * 1.6),
            ImageFont.load_default(unit * 0.6),
        )
        draw.text((unit, unit), self.name, LIGHT, large)
        draw.text((unit, unit * 3.2), f"loaded: {self.loads}", FAINT, small)
        if self.last_key:
            draw.text((unit, unit * 4.2), f"key {self.last_key}", FAINT, small)
        if self.typed:
            draw.text((unit, unit * 5.4), self.typed[-40:], LIGHT, small)
        bar = height - unit
        draw.rectangle((unit, bar, width - unit, bar + unit // 4), fill=(60, 66, 78))
        full = unit + (width - 2 * unit) * self.volume // 100
        draw.rectangle((unit, bar, full, bar + unit // 4), fill=LIGHT)
        for across, down in self.marks:
            x, y, r = across * scale, down * scale, unit / 3
            ring = (x - r, y - r, x + r, y + r)
            draw.ellipse(ring, outline=(255, 210, 70), width=3)

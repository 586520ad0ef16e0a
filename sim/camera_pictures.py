"""Pictures of passing vehicles as a camera would keep them: drawn out of what stands in their address. Pure."""

import io
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from urllib.parse import quote, unquote

from PIL import Image, ImageDraw, ImageFont

from sim.vehicles import BLACK, BLUE, BROWN, GRAY, GREEN, RED, WHITE, YELLOW, Vehicle
from traffic.plates import ALPHABET, PROVINCES
from traffic.zone import SHANGHAI

SIZE = (640, 400)
PATH_PARTS = 6
_FONTS = ("NotoSansCJK-Regular.ttc", "NotoSerifCJK-Bold.ttc", "NotoSansSC-Regular.otf", "wqy-microhei.ttc")
_PINYIN = (
    "JING JIN JI JIN MENG LIAO JI HEI HU SU ZHE WAN MIN GAN LU YU E XIANG YUE GUI QIONG YU CHUAN GUI YUN ZANG SHAN GAN"
    " QING NING XIN"
)
_IN_LETTERS = dict(zip(PROVINCES, _PINYIN.split(), strict=True))
_PAINT = {
    BLACK: "#23262b", WHITE: "#e9ebec", GRAY: "#8f969c", RED: "#a8322d", BLUE: "#2d4f8f", YELLOW: "#d5a92a",
    BROWN: "#6b4a34", GREEN: "#3f7a4d",
}  # fmt: skip
_LONG = frozenset({"heavy_truck", "coach", "tanker", "school_bus"})
_DAY_H = (7, 17)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """What a picture shows. `at_us`: microseconds UTC."""

    plate: str
    at_us: int
    gate: str
    lane: int
    body_color: int
    kind: str


def path_of(vehicle: Vehicle, *, at_us: int, gate: str, lane: int) -> str:
    """The path of an address: all that the picture shows stands in it, so that nothing has to be kept."""
    parts = (str(at_us), gate, str(lane), str(vehicle.body_color), vehicle.kind, vehicle.plate)
    return "/pictures/" + "/".join(quote(part, safe="") for part in parts) + ".jpg"


def shot_of(path: str) -> Shot | None:
    """What a path asks for; None where it is none of ours."""
    if not path.startswith("/pictures/") or not path.endswith(".jpg"):
        return None
    parts = [unquote(part) for part in path.removeprefix("/pictures/").removesuffix(".jpg").split("/")]
    if len(parts) != PATH_PARTS or not all(parts[place].isascii() and parts[place].isdigit() for place in (0, 2, 3)):
        return None
    at_us, gate, lane, color, kind, plate = parts
    known = all(character in ALPHABET for character in plate) and gate.isascii() and kind.isascii()
    if not known or len(path) > 400 or len(at_us) > 17 or len(lane) > 2 or len(color) > 2:
        return None
    return Shot(plate=plate, at_us=int(at_us), gate=gate, lane=int(lane), body_color=int(color), kind=kind)


def draw(shot: Shot) -> bytes:
    """The picture as JPEG."""
    at = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=shot.at_us)).astimezone(SHANGHAI)
    is_day = _DAY_H[0] <= at.hour < _DAY_H[1]
    image = Image.new("RGB", SIZE, "#9fb3bd" if is_day else "#1d2430")
    pen = ImageDraw.Draw(image)
    pen.polygon([(0, 400), (240, 110), (400, 110), (640, 400)], fill="#5b6066" if is_day else "#33373d")
    for y in range(120, 400, 60):
        pen.line([(320, y), (320, y + 28)], fill="#d8dadb", width=3)
    top = 90 if shot.kind in _LONG else 150
    paint = _PAINT.get(shot.body_color, "#8f969c")
    pen.rounded_rectangle([190, top, 450, 340], 26, fill=paint, outline="#101214", width=3)
    pen.rounded_rectangle([214, top + 22, 426, top + 88], 14, fill="#39434d")
    for x in (206, 394):
        pen.ellipse([x, 262, x + 40, 292], fill="#fff4c2" if not is_day else "#dfe4e6")
    _plate(pen, shot.plate)
    words = f"{at:%Y-%m-%d %H:%M:%S}  {shot.gate}  LANE {shot.lane}"
    pen.rectangle([0, 0, 640, 26], fill="#000000")
    pen.text((8, 4), words, fill="#ffffff", font=ImageFont.load_default(16))
    body = io.BytesIO()
    image.save(body, "JPEG", quality=80)
    return body.getvalue()


def _plate(pen: ImageDraw.ImageDraw, plate: str) -> None:
    """The plate in its colours; without a Chinese font the province stands in letters."""
    font = _chinese(34)
    text = plate if font else "".join(_IN_LETTERS.get(one, one if one.isascii() else "?") for one in plate)
    ground, ink = ("#3aa05a", "#101214") if len(plate) == 8 else ("#1f4f9e", "#ffffff")
    used = font or ImageFont.load_default(32)
    left, upper, right, lower = pen.textbbox((0, 0), text, font=used)
    x = 320 - (right - left) / 2
    pen.rounded_rectangle([x - 14, 296, x + right - left + 14, 340], 6, fill=ground, outline="#ffffff", width=2)
    pen.text((x - left, 318 - (lower + upper) / 2), text, fill=ink, font=used)


@lru_cache(maxsize=4)
def _chinese(size: int) -> ImageFont.FreeTypeFont | None:
    for name in _FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return None

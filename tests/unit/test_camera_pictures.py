"""Pictures of the twin: all that they show stands in their address."""

import io

import pytest
from PIL import Image

from sim.camera_pictures import SIZE, draw, path_of, shot_of
from sim.vehicles import RED, Vehicle
from tests.sightings import T0
from traffic.picture_sources import media_type_of

VEHICLE = Vehicle(
    plate="吉A7K365", plate_class=2, plate_color=5, vehicle_class="K33", body_color=RED, kind="car", speed_factor=1.0
)
PATH = path_of(VEHICLE, at_us=T0, gate="22010000001210000001", lane=2)


def test_an_address_says_what_the_picture_shows() -> None:
    shot = shot_of(PATH)
    assert shot and (shot.plate, shot.at_us, shot.lane, shot.body_color) == ("吉A7K365", T0, 2, RED)
    assert PATH.isascii() and len(PATH) < 200


def test_the_picture_is_one_and_the_same_each_time() -> None:
    shot = shot_of(PATH)
    assert shot
    body = draw(shot)
    assert media_type_of(body) == "image/jpeg" and body == draw(shot)
    with Image.open(io.BytesIO(body)) as picture:
        assert picture.size == SIZE
        red, _, blue = picture.convert("RGB").getpixel((200, 300))
    assert red > 2 * blue


@pytest.mark.parametrize(
    "path",
    ["/", "/pictures/", "/pictures/x.jpg", "/pictures/1/2/3/4/5.jpg", PATH.replace(".jpg", ".svg"), PATH + "?x",
     PATH.replace("/2/", "/-1/"), PATH.replace("/2/", "/99999/"), PATH.replace("A7K365", "%2e%2e%2f"), PATH * 9,
     PATH.replace("/pictures/", "/pictures/9999999999"), PATH.replace("/2/", "/二/")],
    ids=["root", "folder", "name", "short", "ending", "query", "lane", "lanes", "dots", "long", "time", "digit"],
)  # fmt: skip
def test_other_addresses_show_nothing(path: str) -> None:
    assert shot_of(path) is None

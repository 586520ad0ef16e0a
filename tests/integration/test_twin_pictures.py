"""The twin's pictures are served on the loopback address, and the demonstration may copy them."""

import asyncio
import hashlib

import httpx

from sim.camera_pictures import draw, path_of, shot_of
from sim.pictures import base_address, serving
from sim.vehicles import BLACK, Vehicle
from tests.conftest import free_port
from traffic.pictures import copy, sources_of

VEHICLE = Vehicle(
    plate="吉A7K365",
    plate_class=2,
    plate_color=5,
    vehicle_class="K33",
    body_color=BLACK,
    kind="coach",
    speed_factor=1.0,
)
PATH = path_of(VEHICLE, at_us=1_790_000_000_000_000, gate="22010000001210000001", lane=1)


async def test_what_the_twin_serves_is_copied_by_the_demonstration(settings):
    bound = settings.model_copy(update={"twin_picture_port": free_port()})
    async with serving(bound):
        found = await asyncio.to_thread(copy, sources_of(bound), bound.data_dir, base_address(bound) + PATH)
        shot = shot_of(PATH)
        assert shot and found.sha256 == hashlib.sha256(draw(shot)).digest()
        async with httpx.AsyncClient(base_url=base_address(bound)) as client:
            for path in ("/", "/pictures/x.jpg", "/demo.json"):
                assert (await client.get(path)).status_code == 404
            assert (await client.post(PATH)).status_code == 404
    elsewhere = bound.model_copy(update={"demo": False})
    assert copy(sources_of(elsewhere), bound.data_dir, base_address(bound) + PATH).error == "host"


async def test_the_twin_runs_without_pictures_where_the_port_is_taken(settings):
    bound = settings.model_copy(update={"twin_picture_port": free_port()})
    async with serving(bound), serving(bound):
        async with httpx.AsyncClient(base_url=base_address(bound)) as client:
            assert (await client.get(PATH)).status_code == 200

"""GA/T 1400 subscriptions end to end: others subscribe here and are told, we subscribe there and are told."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

import httpx
import msgspec
import psycopg
import pytest

from tests.conftest import wait_until_async
from tests.platformkit import Doors, Receiver, add_device, opened, receiving
from tests.workbench import Bench, seen
from tests.world import CORPS, World
from traffic import subscriptions, viid_client
from traffic.database import WRITER, as_role
from traffic.forwarder import REFUSALS_MAX, forward
from traffic.plates import plate_key
from traffic.readings import Door, PassageBatch
from traffic.secrets import encrypt
from traffic.settings import Settings
from traffic.viid_client import Credentials, ExchangeFailed, Partner, new_client

ID, NEIGHBOUR = "220000000000032026112408000000001", "21000000005030000001"


@contextlib.asynccontextmanager
async def forwarding(settings: Settings) -> AsyncIterator[None]:
    """The forwarder's process on this event loop."""
    stop = asyncio.Event()
    running = asyncio.create_task(forward(settings, stop))
    try:
        yield
        assert not running.done(), running.result()
    finally:
        stop.set()
        await running


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses of a test's length."""
    for name, seconds in (("POLL_S", 0.05), ("PAUSE_S", 0.05), ("PAUSE_S_MAX", 0.2), ("UPKEEP_S", 0.2)):
        monkeypatch.setattr(f"traffic.forwarder.{name}", seconds)


# ---------------------------------------------------------------- others subscribe here
def wish(world: World, receiver: Receiver, **fields: object) -> dict[str, object]:
    codes = ",".join(gate.code for gate in world.gates[:2])
    return {
        "SubscribeID": ID, "Title": "省际卡口", "SubscribeDetail": "13", "ResourceURI": codes,
        "ReceiveAddr": receiver.address, "ReportInterval": 0, "OperateType": 0, **fields,
    }  # fmt: skip


@dataclass(kw_only=True)
class Subscriber:
    """A registered device that subscribes."""

    doors: Doors
    headers: dict[str, str]

    async def ask(self, method: str, *wishes: dict[str, object], query: str = "") -> list[str]:
        """StatusString of each."""
        body = json.dumps({"SubscribeListObject": {"SubscribeObject": list(wishes)}}).encode()
        answer = await self.doors.client.request(method, f"/VIID/Subscribes{query}", content=body, headers=self.headers)
        assert answer.status_code == 200, answer.text
        statuses = answer.json()["ResponseStatusListObject"]["ResponseStatusObject"]
        return ["OK" if status["StatusCode"] == "0" else status["StatusString"] for status in statuses]


async def registered(doors: Doors) -> Subscriber:
    world, headers = doors.world, {"User-Identify": doors.world.gat_code}
    body = json.dumps({"RegisterObject": {"DeviceID": world.gat_code}}).encode()
    auth = httpx.DigestAuth(world.gat_code, world.gat_password)
    answer = await doors.client.post("/VIID/System/Register", content=body, headers=headers, auth=auth)
    assert answer.status_code == 200, answer.text
    return Subscriber(doors=doors, headers=headers)


async def test_a_device_subscribes_changes_lists_and_cancels(
    settings: Settings, world: World, owner: psycopg.Connection
) -> None:
    async with opened(settings, world) as doors, receiving() as receiver:
        stranger = await doors.client.post("/VIID/Subscribes", headers={"User-Identify": world.gat_code})
        assert stranger.status_code == 401
        device = await registered(doors)
        refused = wish(world, receiver, SubscribeID="2", ReceiveAddr="http://10.0.0.1/")
        east = wish(world, receiver, SubscribeID="3", ResourceURI=world.gates[2].code)
        told = await device.ask("POST", wish(world, receiver), refused, east)
        assert told[0] == "OK" and "ReceiveAddr" in told[1] and "ResourceURI" in told[2]
        assert await device.ask("PUT", wish(world, receiver, ReportInterval=7)) == ["OK"]
        row = owner.execute("SELECT id, checkpoints, interval_s, status, direction FROM subscription").fetchall()
        assert row == [(ID, [1, 2], 7, 0, "out")]
        listed = await doors.client.get("/VIID/Subscribes", headers=device.headers)
        (mine,) = listed.json()["SubscribeListObject"]["SubscribeObject"]
        assert (mine["SubscribeID"], mine["SubscribeStatus"], mine["ReceiveAddr"]) == (ID, 0, receiver.address)
        owner.execute("UPDATE subscription SET device_id = %s", [world.native_id])
        assert await device.ask("POST", wish(world, receiver)) == ["SubscribeID: is another's"]
        assert await device.ask("DELETE", query=f"?IDList={ID}") == ["SubscribeID: is not known"]
        owner.execute("UPDATE subscription SET device_id = %s", [world.gat_id])
        assert await device.ask("DELETE", query=f"?IDList={ID}") == ["OK"]
        assert await device.ask("POST", wish(world, receiver, OperateType=1)) == ["OK"], "it has ended already"
        assert owner.execute("SELECT status FROM subscription").fetchall() == [(1,)]


@pytest.fixture
def subscribed(owner: psycopg.Connection, world: World):
    """Makes a row of a subscription of the GA/T 1400 device."""

    def make(address: str, name: str = ID, **fields: object) -> None:
        values = {
            "id": name, "direction": "out", "device_id": world.gat_id, "title": "t", "detail": "13", "resource": "22",
            "checkpoints": [1, 2], "receive_addr": address, "interval_s": 0, "begins_at": world.now, "status": 0,
            "ends_at": world.now.replace(year=world.now.year + 1), "changed_at": world.now, **fields,
        }  # fmt: skip
        names, holes = ", ".join(values), ", ".join(f"%({name})s" for name in values)
        owner.execute(f"INSERT INTO subscription ({names}) VALUES ({holes})", values)
        owner.execute("UPDATE version SET value = value + 1 WHERE name = 'subscription'")

    return make


async def test_passages_of_subscribed_checkpoints_reach_the_receiver_in_their_order(
    settings: Settings, world: World, bench: Bench, quick: None
) -> None:
    """From the subscription at one door and the records at another to the notification, over a worker's transaction."""
    async with opened(settings, world, bus_open=False) as doors, receiving() as receiver:
        worker = await asyncio.to_thread(bench.worker)
        device = await registered(doors)
        assert await device.ask("POST", wish(world, receiver)) == ["OK"]

        def knows() -> bool:
            return bool(worker.book and worker.book.subscriptions)

        await asyncio.to_thread(bench.step_until, worker, knows)
        moments = [world.now - timedelta(seconds=200 - number) for number in range(8)]
        records = [
            world.native_record(n % 4, at, "吉C00001" if n < 2 else f"吉C{n:05d}") for n, at in enumerate(moments)
        ]
        key = {"Authorization": f"Bearer {world.native_key}"}
        answer = await doors.client.post("/api/passages", json=records, headers=key)
        assert answer.json()["accepted"] == 8
        await asyncio.to_thread(bench.step_until, worker, lambda: bench.settled(worker))
        assert bench.rows("SELECT sum(records) FROM subscription_outbox") == [(4,)]
        async with forwarding(settings):
            await wait_until_async(lambda: len(receiver.vehicles()) == 4, what="four passages are told")
            await wait_until_async(
                lambda: bench.rows("SELECT sent, lost, last_error FROM subscription") == [(4, 0, "")], what="counted"
            )
        told = [(vehicle["PlateNo"], vehicle["TollgateID"]) for vehicle in receiver.vehicles()]
        assert sorted(plate for plate, _ in told) == ["吉C00001", "吉C00001", "吉C00004", "吉C00005"]
        mine = [gate for plate, gate in told if plate == "吉C00001"]
        assert mine == [world.gates[0].code, world.gates[1].code], "one vehicle's passages in their order"
        assert bench.rows("SELECT count(*) FROM subscription_outbox") == [(0,)]


# ---------------------------------------------------------------- the outbox
def put_out(settings: Settings, world: World, *rows, device: int = 0, now_us: int | None = None) -> int:
    batch = PassageBatch.concat([PassageBatch(rows=row.copy()) for row in rows])
    batch.rows["device"] = device
    with psycopg.connect(as_role(str(settings.database_url), WRITER)) as connection:
        wanted = subscriptions.load_subscriptions(connection)
        return subscriptions.outbox(connection, wanted, batch, now_us=now_us or settings.clock.now_us())


def test_the_outbox_holds_what_is_wanted_and_nothing_that_its_device_sent(
    settings: Settings, world: World, owner: psycopg.Connection, subscribed
) -> None:
    rows = [seen(world, gate, -100, f"吉D0000{gate}") for gate in range(4)]
    assert put_out(settings, world, *rows) == 0, "nobody subscribed"
    subscribed("http://x/", ID)
    subscribed("http://x/", "over", ends_at=world.now.replace(year=world.now.year - 1), begins_at=world.now)
    assert put_out(settings, world, *rows) == 2
    assert put_out(settings, world, *rows, device=world.gat_id) == 0
    assert put_out(settings, world, rows[2], rows[3]) == 0
    assert owner.execute("SELECT subscription, records FROM subscription_outbox").fetchall() == [(ID, 2)]


def test_too_much_that_waits_is_given_up_from_its_old_end_and_counted(
    settings: Settings, world: World, owner: psycopg.Connection, subscribed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriptions, "SUBSCRIPTION_RECORDS_MAX", 5)
    monkeypatch.setattr(subscriptions, "TRIM_EVERY", 1)
    subscribed("http://x/")
    for number in range(9):
        put_out(settings, world, seen(world, 0, -100 + number, f"吉E0000{number}"))
    assert owner.execute("SELECT sum(records) FROM subscription_outbox").fetchone() == (5,)
    assert owner.execute("SELECT lost FROM subscription").fetchone() == (4,)
    owner.execute("UPDATE subscription_outbox SET written_at = written_at - interval '2 days' WHERE id %% 2 = 0", [])
    put_out(settings, world, seen(world, 0, -1, "吉E00010"))
    assert owner.execute("SELECT sum(records) FROM subscription_outbox").fetchone()[0] < 5


# ---------------------------------------------------------------- receivers
async def test_a_restart_loses_nothing_and_a_broken_receiver_is_tried_again(
    settings: Settings, world: World, owner: psycopg.Connection, subscribed, quick: None
) -> None:
    async with receiving() as receiver, receiving() as other:
        receiver.script = [
            (500, {}, b""), (302, {"Location": other.address}, b""), (200, {}, b"x" * 300_000), (503, {}, b"busy"),
            (200, {}, b'{"ResponseStatusObject":{"StatusCode":"2","StatusString":"busy"}}'),
        ]  # fmt: skip
        subscribed(receiver.address)
        for number in range(3):
            put_out(settings, world, seen(world, 0, -100 + number, f"吉F0000{number}"))
        async with forwarding(settings):
            await wait_until_async(lambda: len(receiver.script) <= 3, what="it was tried")
        assert owner.execute("SELECT sum(records) FROM subscription_outbox").fetchone() == (3,)
        async with forwarding(settings):
            await wait_until_async(
                lambda: owner.execute("SELECT sent FROM subscription").fetchone() == (3,), what="all is taken"
            )
        told = [vehicle["PlateNo"] for vehicle in receiver.vehicles()]
        assert told[-3:] == ["吉F00000", "吉F00001", "吉F00002"] and not other.requests, "in order, and not redirected"
        assert not owner.execute("SELECT FROM subscription_outbox").fetchall()


async def test_one_silent_receiver_does_not_hold_up_the_others(
    settings: Settings, world: World, owner: psycopg.Connection, subscribed, quick: None, monkeypatch
) -> None:
    monkeypatch.setattr(viid_client, "EXCHANGE_S", 0.3)
    async with receiving() as silent, receiving() as good:
        silent.silent = True
        subscribed(silent.address, "silent")
        subscribed(good.address, "good")
        put_out(settings, world, seen(world, 0, -100, "吉G00000"))
        async with forwarding(settings):
            await wait_until_async(lambda: len(good.vehicles()) == 1, what="the other is told")
            error = "SELECT last_error FROM subscription WHERE id = 'silent'"
            await wait_until_async(
                lambda: "no answer" in owner.execute(error).fetchone()[0], what="its trouble is said"
            )
        assert owner.execute("SELECT subscription FROM subscription_outbox").fetchall() == [("silent",)]


async def test_what_a_receiver_refuses_for_good_is_given_up_and_counted(
    settings: Settings, world: World, owner: psycopg.Connection, subscribed, quick: None
) -> None:
    async with receiving() as receiver:
        receiver.script = [(400, {}, b"")] * REFUSALS_MAX
        subscribed(receiver.address)
        put_out(settings, world, seen(world, 0, -100, "吉H00000"))
        async with forwarding(settings):
            await wait_until_async(
                lambda: owner.execute("SELECT lost FROM subscription").fetchone() == (1,), what="it is given up"
            )
            put_out(settings, world, seen(world, 0, -50, "吉H00001"))
            await wait_until_async(lambda: len(receiver.vehicles()) == 1, what="the next one is told")


async def test_two_forwarders_tell_once_and_one_takes_over(
    settings: Settings, world: World, owner: psycopg.Connection, subscribed, quick: None
) -> None:
    async with receiving() as receiver:
        subscribed(receiver.address)
        async with forwarding(settings):
            async with forwarding(settings):
                put_out(settings, world, seen(world, 0, -100, "吉K00000"))
                await wait_until_async(lambda: receiver.vehicles(), what="it is told")
            subscribed(receiver.address, "ends", ends_at=world.now)
            put_out(settings, world, seen(world, 0, -50, "吉K00001"))
            await wait_until_async(lambda: len(receiver.vehicles()) == 2, what="the other goes on")
            status = "SELECT status FROM subscription WHERE id = 'ends'"
            await wait_until_async(lambda: owner.execute(status).fetchone() == (2,), what="its time is over")
        assert [vehicle["PlateNo"] for vehicle in receiver.vehicles()] == ["吉K00000", "吉K00001"]


# ---------------------------------------------------------------- we subscribe elsewhere
CHALLENGE = {"WWW-Authenticate": 'Digest realm="viid", nonce="abc", qop="auth", algorithm=MD5'}


def add_neighbour(owner: psycopg.Connection, settings: Settings, world: World, port: int, **link: object) -> int:
    shown = encrypt(str(settings.secret_key), msgspec.json.encode({"user": settings.viid_server_id, "password": "p"}))
    told = {"address": f"http://127.0.0.1:{port}", "peers": ["127.0.0.1"], **link}
    return add_device(owner, world.now, NEIGHBOUR, "gat1400", b"", unit=CORPS, link=told, link_secret=shown)


async def test_a_subscription_of_ours_is_told_changed_and_ended_there(
    settings: Settings, world: World, owner: psycopg.Connection, subscribed, quick: None
) -> None:
    def told() -> bool:
        return owner.execute("SELECT told FROM subscription").fetchone() == (True,)

    async with receiving() as partner:
        partner.script = [(401, CHALLENGE, b"")]
        number = add_neighbour(owner, settings, world, partner.port)
        subscribed(
            "http://127.0.0.1:1/VIID/SubscribeNotifications", direction="in", device_id=number, told=False,
            resource="2101", checkpoints=[],
        )  # fmt: skip
        async with forwarding(settings):
            await wait_until_async(told, what="the other side is told")
            owner.execute("UPDATE subscription SET told = false, changed_at = changed_at + interval '1 s'")
            await wait_until_async(told, what="and of the change")
            partner.script = [(500, {}, b"")]
            owner.execute("UPDATE subscription SET told = false, status = 1, changed_at = changed_at + interval '2 s'")
            await wait_until_async(told, what="and of the end", timeout=30)
    asked = [request for request in partner.requests if not request[1].endswith("Keepalive")]
    kinds = [(method, path.split("?")[0]) for method, path, _ in asked]
    assert kinds[:3] == [
        ("POST", "/VIID/System/Register"), ("POST", "/VIID/Subscribes"), ("PUT", "/VIID/Subscribes"),
    ]  # fmt: skip
    assert kinds[-1] == ("DELETE", "/VIID/Subscribes") and f"IDList={ID}" in asked[-1][1]
    wanted = json.loads(asked[1][2])["SubscribeListObject"]["SubscribeObject"][0]
    assert (wanted["SubscribeID"], wanted["ResourceURI"], wanted["OperateType"]) == (ID, "2101", 0)


async def test_notifications_of_ours_become_passages_and_others_are_refused(
    settings: Settings, world: World, owner: psycopg.Connection, subscribed
) -> None:
    number = add_neighbour(owner, settings, world, 1, codes={"2101": world.gates[0].code})
    subscribed("http://127.0.0.1:1/", direction="in", device_id=number, resource="2101", checkpoints=[])
    good = world.motor_vehicle(0, world.now, "吉L00001", TollgateID="2101")
    lost = world.motor_vehicle(0, world.now, "吉L00002", TollgateID="9999", MotorVehicleID="z")

    def notification(subscription: str, *vehicles: dict) -> dict:
        return {
            "NotificationID": f"n-{subscription}", "SubscribeID": subscription, "Title": "t", "InfoIDs": "",
            "TriggerTime": "20261124160000", "MotorVehicleObjectList": {"MotorVehicleObject": list(vehicles)},
        }  # fmt: skip

    async with opened(settings, world) as doors:

        async def tell(*told: dict, identity: str = NEIGHBOUR) -> httpx.Response:
            body = {"SubscribeNotificationListObject": {"SubscribeNotificationObject": list(told)}}
            return await doors.client.post(
                "/VIID/SubscribeNotifications", content=json.dumps(body), headers={"User-Identify": identity}
            )

        assert (await tell(notification(ID, good), identity=world.gat_code)).status_code == 401
        answer = await tell(notification(ID, good, lost), notification("unknown", good))
        statuses = answer.json()["ResponseStatusListObject"]["ResponseStatusObject"]
        assert [status["StatusCode"] for status in statuses] == ["8", "4"] and answer.status_code == 200
        assert "1 of 2 refused" in statuses[0]["StatusString"]
        rows = doors.passages().rows
        assert rows["plate_key"].tolist() == [plate_key("吉L00001")]
        assert (rows["door"][0], rows["device"][0], rows["checkpoint"][0]) == (Door.SUBSCRIPTION, number, 1)
        await wait_until_async(lambda: len(doors.rejects()) == 1, what="the unknown tollgate is in quarantine")
        assert doors.rejects()[0].reason == "unknown_checkpoint"
        owner.execute("UPDATE subscription SET status = 1")
        owner.execute("UPDATE version SET value = value + 1 WHERE name = 'subscription'")

        async def ended() -> bool:
            found = (await tell(notification(ID, good))).json()["ResponseStatusListObject"]["ResponseStatusObject"]
            return bool(found[0]["StatusCode"] == "4")

        await wait_until_async(ended, what="an ended subscription brings nothing more")


async def test_a_partner_that_forgot_us_is_registered_at_again() -> None:
    async with receiving() as partner, new_client() as client:
        there = Partner(
            client, "22000000005030000001", address=f"http://127.0.0.1:{partner.port}",
            credentials=Credentials(user="u", password="p"),
        )  # fmt: skip
        partner.script = [(401, CHALLENGE, b""), (200, {}, b""), (401, {}, b""), (401, CHALLENGE, b"")]
        await there.send("POST", partner.address, b"{}")
        assert [path for _, path, _ in partner.requests][-1] == "/VIID/SubscribeNotifications"
        assert there.registered
        partner.script = [(404, {}, b"")]
        with pytest.raises(ExchangeFailed):
            await there.keepalive()
        assert not there.registered

"""The monitor's and the worker's words about the roads, for tests of screens: table rows and feed rows in one
transaction, as those parts write them."""

from collections.abc import Sequence
from uuid import UUID, uuid4

from psycopg.types.json import Jsonb

from tests.apikit import Feed, above
from tests.world import CORPS, LINKS
from traffic.limits import ROADS_PARTITION
from traffic.plates import plate_key
from traffic.store import when


def audience_of_link(link: int) -> list[int]:
    """Owner, neighbours along the corridor, and all above these."""
    _, _, unit, corridor = LINKS[(link - 1) % 4]
    return sorted({member for near in (unit, *corridor) for member in above(near)})


class RoadFeed(Feed):
    """Writes also what is said of links, events, sensors, indices and positions."""

    @property
    def now_us(self) -> int:
        """The time of all that is written."""
        return self._now_us

    def link(self, link: int, level: int = 1, *, observed_us: int | None = None, **fields: object) -> None:
        """A link's state of a cycle that is now. `fields`: speed_kmh, flow_vph, risk_level, grounds, cycle_us."""
        observed = self._now_us if observed_us is None else observed_us
        cycle = int(str(fields.get("cycle_us", self._now_us)))
        speed, flow = fields.get("speed_kmh", 80.0), fields.get("flow_vph", 1200.0)
        risk = fields.get("risk_level", 1)
        audience = audience_of_link(link)
        with self._connection.transaction():
            self._connection.execute(
                "INSERT INTO link_state VALUES (%(link)s, %(cycle)s, %(observed)s, %(level)s, %(speed)s, %(flow)s,"
                " 15.0, 450.0, 520.0, 0.2, 0.9, 5, 0.1, %(risk)s, 0.2, %(risk)s, %(grounds)s, %(audience)s)"
                " ON CONFLICT (link_id) DO UPDATE SET cycle_at = excluded.cycle_at, observed_at = excluded.observed_at,"
                " level = excluded.level, speed_kmh = excluded.speed_kmh, flow_vph = excluded.flow_vph,"
                " risk_level = excluded.risk_level, risk_next_level = excluded.risk_next_level,"
                " grounds = excluded.grounds",
                {
                    "link": link, "cycle": when(cycle), "observed": when(observed), "level": level, "speed": speed,
                    "flow": flow, "risk": risk, "grounds": Jsonb(fields.get("grounds", {})), "audience": audience,
                },
            )  # fmt: skip
            row = [link, level, speed, flow, 15.0, 450.0, 520.0, 0.9, observed, risk, risk]
            self._say("roads", "links", str(audience[-1]), {"at": cycle, "l": [row]}, audience)

    def event(
        self, link: int, *, id: UUID | None = None, audience: Sequence[int] | None = None, **fields: object
    ) -> str:
        """An event on a link; returns its id. `fields`: kind, state, level, revision, mark (in its grounds), at."""
        id = id or uuid4()
        _, _, unit, _ = LINKS[(link - 1) % 4]
        units = list(audience if audience is not None else audience_of_link(link))
        at = int(str(fields.get("at", self._now_us)))
        state = str(fields.get("state", "open"))
        card = {
            "id": str(id), "kind": fields.get("kind", "congestion"), "state": state, "level": fields.get("level", 2),
            "revision": fields.get("revision", 1), "link": link, "road": 1, "direction": 1, "head_stake_m": 15_000,
            "tail_stake_m": 14_000, "unit": unit, "started_at": at, "changed_at": at,
            "ended_at": at if state == "ended" else None, "observed_at": at, "confidence": 0.8,
            "change": "ended" if state == "ended" else "new" if fields.get("revision", 1) == 1 else "updated",
            "grounds": {"mark": fields.get("mark", "")},
        }  # fmt: skip
        values = {
            **card, "grounds": Jsonb(card["grounds"]), "audience": units, "body": Jsonb(card),
            **{name: card[name] and when(int(str(card[name]))) for name in
               ("started_at", "changed_at", "ended_at", "observed_at")},
        }  # fmt: skip
        with self._connection.transaction():
            self._connection.execute(
                "INSERT INTO road_event VALUES (%(id)s, %(kind)s, %(state)s, %(level)s, %(revision)s, %(link)s,"
                " %(road)s, %(direction)s, %(head_stake_m)s, %(tail_stake_m)s, %(unit)s, %(started_at)s,"
                " %(changed_at)s, %(ended_at)s, %(observed_at)s, %(confidence)s, %(grounds)s, %(audience)s)"
                " ON CONFLICT (id) DO UPDATE SET state = excluded.state, level = excluded.level,"
                " revision = excluded.revision, changed_at = excluded.changed_at, ended_at = excluded.ended_at,"
                " audience = excluded.audience",
                values,
            )
            self._connection.execute(
                "INSERT INTO road_event_revision VALUES (%(id)s, %(revision)s, %(changed_at)s, %(body)s)", values
            )
            self._say("roads", "event", str(id), card, units)
        return str(id)

    def sensor(self, detector: int, state: str, audience: Sequence[int], *, mark: str = "") -> None:
        """A detector's health, all lanes together."""
        values = {
            "id": detector, "state": state, "reason": "" if state == "ok" else "locked_on", "at": when(self._now_us),
            "detail": Jsonb({"mark": mark}), "audience": list(audience),
        }  # fmt: skip
        with self._connection.transaction():
            self._connection.execute(
                "INSERT INTO sensor_health VALUES ('detector', %(id)s, 0, %(state)s, %(reason)s, 0.4, %(at)s,"
                " %(detail)s, %(audience)s)",
                values,
            )
            body = {"kind": "detector", "id": detector, "lane": 0, "state": state, "detail": {"mark": mark}}
            self._say("roads", "sensor", f"detector:{detector}:0", body, audience)

    def index(self, scope: str, number: int, index: float, audience: Sequence[int]) -> None:
        """The congestion index of an area."""
        values = {
            "scope": scope, "id": number, "at": when(self._now_us), "index": index, "audience": list(audience),
        }  # fmt: skip
        with self._connection.transaction():
            self._connection.execute(
                "INSERT INTO road_index VALUES (%(scope)s, %(id)s, %(at)s, %(index)s, 80, 2.0, 3.5, 0.9, 100,"
                " '{4,3,2,1}', %(audience)s)",
                values,
            )
            body = {
                "scope": scope, "id": number, "at": self._now_us, "index": index, "usual": 2.0, "speed_kmh": 80.0,
                "congested_km": 3.5, "known_share": 0.9, "vehicle_km_h": 100.0, "risk_links": [4, 3, 2, 1],
            }  # fmt: skip
            self._say("figures", "index", f"{scope}:{number}", body, audience)

    def crew(self, crew: int, unit: int, lon: float, lat: float, *, at_us: int | None = None) -> None:
        """Where a crew is."""
        at = self._now_us if at_us is None else at_us
        with self._connection.transaction():
            self._place((2, crew, 0), at, lon, lat, unit)
            self._say(
                "units", "crews", str(unit), {"p": [[crew, at, lon, lat, 40.0, 90.0, 1, 5000, 1]]}, above(unit), 0
            )

    def vehicle(self, plate: str, unit: int, lon: float, lat: float, *, at_us: int | None = None) -> None:
        """Where a key vehicle is; `unit` owns the place."""
        at = self._now_us if at_us is None else at_us
        with self._connection.transaction():
            self._connection.execute(
                "INSERT INTO key_vehicle VALUES (%s, 2, %s, 'hazardous_goods', 'x', %s) ON CONFLICT DO NOTHING",
                [plate_key(plate), plate, CORPS],
            )
            self._place((1, plate_key(plate), 2), at, lon, lat, unit)
            row = [plate, 2, "hazardous_goods", at, lon, lat, 60.0, None, 1, 5000]
            self._say("units", "vehicles", str(unit), {"p": [row]}, above(unit), 0)

    def _place(self, key: tuple[int, int, int], at: int, lon: float, lat: float, unit: int) -> None:
        self._connection.execute(
            "INSERT INTO position_latest VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, 1, 5000, 1, %s, %s)"
            " ON CONFLICT (subject_kind, subject, class_group) DO UPDATE SET observed_at = excluded.observed_at,"
            " lon = excluded.lon, lat = excluded.lat, unit_id = excluded.unit_id, audience = excluded.audience",
            [
                *key, when(at), when(at), lon, lat, 40.0 if key[0] == 2 else 60.0,
                90.0 if key[0] == 2 else None, unit, above(unit),
            ],
        )  # fmt: skip

    def _say(
        self, topic: str, kind: str, key: str, body: dict, audience: Sequence[int], partition: int = ROADS_PARTITION
    ) -> None:
        row = {"at": when(self._now_us), "topic": topic, "kind": kind, "key": key, "audience": list(audience)}
        self._write({**row, "body": Jsonb(body)}, partition)

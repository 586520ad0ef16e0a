"""Driving time of key vehicles, told in times."""

import numpy as np

from tests.keyedkit import COACH, GATES, SECOND_US, Story, book, clock, drive, passage, position, rule, stand


def _story(**parameters: float) -> Story:
    return Story(book(rule("driving_time", 4, parameters=parameters)))


def _said(story: Story) -> list[dict]:
    return [finding.detail["driving_time"] for finding in story.active]


def _half_days(rest_min: float, kmh: float = 60.0) -> list[np.ndarray]:
    """07:00-10:00, a rest, and two hours more."""
    begin = clock("07:00")
    first = drive(COACH, begin, 180, kmh=kmh)
    stop_m = kmh / 3.6 * 180 * 60
    rest_at = begin + 181 * 60 * SECOND_US
    rest = stand(COACH, rest_at, rest_min - 2, stop_m)
    again = begin + round((180 + rest_min) * 60) * SECOND_US
    return [*first, *rest, *drive(COACH, again, 120, from_m=stop_m, kmh=kmh)]


def test_four_hours_by_day_are_allowed_and_a_minute_more_is_told() -> None:
    story = _story()
    story.live(drive(COACH, clock("08:00"), 240), batch_s=1800)
    assert story.active == []
    story.live(drive(COACH, clock("12:01"), 1, from_m=322_000), batch_s=60)
    (said,) = _said(story)
    assert said["exceeded"] == ["continuous"]
    assert 240 < said["driven_min"] <= 243
    (finding,) = story.active
    assert finding.observations[0].at == clock("08:00")
    assert finding.observations[0].stake is not None and finding.observations[0].stake.startswith("G1 K0+")


def test_a_rest_of_19_minutes_is_none() -> None:
    story = _story()
    story.live(_half_days(19), batch_s=1800)
    assert [said["exceeded"] for said in _said(story)] == [["continuous"]]


def test_a_rest_of_21_minutes_begins_a_new_count() -> None:
    story = _story()
    story.live(_half_days(22), batch_s=1800)
    assert story.active == []


def test_two_hours_by_night_are_the_limit() -> None:
    story = _story()
    story.live(drive(COACH, clock("22:00"), 119), batch_s=1800)
    assert story.active == []
    story.live(drive(COACH, clock("24:00"), 5, from_m=160_000), batch_s=60)
    (said,) = _said(story)
    assert said["exceeded"] == ["night"]


def test_driving_into_the_night_counts_by_night_from_ten_oclock_on() -> None:
    """From 20:30: at 22:00 an hour and a half are driven, but none of it by night; two hours of night end at 24:00."""
    story = _story()
    story.live(drive(COACH, clock("20:30"), 209), batch_s=1800)
    assert story.active == []
    story.live(drive(COACH, clock("24:00"), 5, from_m=280_000), batch_s=60)
    (said,) = _said(story)
    assert said["exceeded"] == ["night"]
    assert said["driven_min"] > 205 and 120 < said["night_driven_min"] < 125


def test_driving_out_of_the_night_is_judged_by_the_days_limit() -> None:
    """From 04:30: an hour and a half of night, and three and a half hours in all."""
    story = _story()
    story.live(drive(COACH, clock("04:30"), 210), batch_s=1800)
    assert story.active == []


def test_eight_hours_in_24_are_the_limit_though_every_rest_is_kept() -> None:
    story = _story()
    now, place = clock("06:00"), 0.0
    records = []
    for _ in range(3):
        records += drive(COACH, now, 170, from_m=place, kmh=50)
        place += 50 / 3.6 * 170 * 60
        now += 170 * 60 * SECOND_US
        records += stand(COACH, now + 60 * SECOND_US, 38, place)
        now += 40 * 60 * SECOND_US
    story.live(records, batch_s=1800)
    (said,) = _said(story)
    assert said["exceeded"] == ["24h"]
    assert 480 < said["driven_24h_min"] <= 512


def test_a_week_of_short_days_passes_44_hours() -> None:
    story = _story()
    for day in range(7):  # there in the morning, back before noon: 400 minutes
        story.live(drive(COACH, clock("06:00", day), 200, kmh=40, every_s=300), batch_s=3600)
        way_back = [
            position(COACH, 133_333 * (1 - n / 40), clock("10:00", day) + n * 300 * SECOND_US, 40) for n in range(41)
        ]
        story.live(way_back, batch_s=3600)
    exceeded = [said["exceeded"] for said in _said(story)]
    assert exceeded and all(one == ["7d"] for one in exceeded)
    first = story.active[0]
    assert first.first_at == clock("10:00", 6)  # 40 hours in six days, and on the seventh more than four


def test_a_gap_between_cameras_that_is_no_longer_than_usual_is_driving() -> None:
    """Passages alone: 30 km in 20 minutes each, twelve of them are four hours."""
    story = _story()
    gates = list(GATES)[:14]
    story.live([passage(COACH, gate, clock("08:00") + n * 1200 * SECOND_US) for n, gate in enumerate(gates)])
    (said,) = _said(story)
    assert said["exceeded"] == ["continuous"]
    assert said["between_far_sightings_min"] == said["driven_min"]
    assert story.active[0].confidence < 0.7


def test_a_gap_that_is_longer_than_usual_by_a_rest_may_have_been_one() -> None:
    story = _story()
    gates = list(GATES)[:14]
    times = [clock("08:00") + n * 1200 * SECOND_US for n in range(len(gates))]
    pause = 21 * 60 * SECOND_US
    records = [
        passage(COACH, gate, when + (pause if n >= 7 else 0))
        for n, (gate, when) in enumerate(zip(gates, times, strict=True))
    ]
    story.live(records)
    assert story.active == []


def test_the_period_ends_with_the_rest_and_says_so() -> None:
    story = _story()
    story.live([*drive(COACH, clock("08:00"), 250), *stand(COACH, clock("12:12"), 25, 334_000)], batch_s=600)
    (said,) = _said(story)
    assert said["ended"] and 245 < said["driven_min"] < 255


def test_a_rest_that_is_heard_of_late_takes_the_finding_back_and_is_its_cause() -> None:
    """Eight minutes without a word look driven, until a late position tells that the vehicle stood for most of them."""
    story = _story(day_limit_min=60, rest_min=5)
    story.live([*drive(COACH, clock("09:00"), 55, kmh=60), *drive(COACH, clock("10:03"), 7, from_m=62_000, kmh=60)])
    assert [said["exceeded"] for said in _said(story)] == [["continuous"]]
    late = position(COACH, 55_050, clock("10:00:30"), 0.0, received_at=clock("10:12"))
    story.tell(late)
    (finding,) = story.findings.values()
    assert finding.state == "retracted"
    assert finding.cause is not None and finding.cause["reason"] == "late_position"
    assert finding.cause["at"] == clock("10:00:30") and finding.cause["after"] is None
    assert finding.cause["before"]["driven_min"] > 60


def test_a_jump_of_a_terminal_across_the_province_is_nobodys_driving() -> None:
    story = _story()
    records = drive(COACH, clock("08:00"), 230)
    records += [position(COACH, 580_000 if n % 2 else 306_000, clock("11:51") + n * 60 * SECOND_US) for n in range(30)]
    story.live(records, batch_s=1800)
    assert story.active == []

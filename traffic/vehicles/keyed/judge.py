"""What the rules say of new sightings of registered vehicles: told as they come, and corrected where they come late."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from traffic.findings import Candidate
from traffic.vehicles.keyed import rows as records
from traffic.vehicles.keyed import shapes, tell
from traffic.vehicles.keyed.episodes import Episode
from traffic.vehicles.keyed.rules import KeyedRules
from traffic.vehicles.keyed.shapes import Fresh
from traffic.vehicles.keyed.state import KeyedState
from traffic.vehicles.rules import RuleBook

Said = dict[Episode, tell.Word]


def judge(
    keyed: KeyedState,
    book: RuleBook,
    *,
    passages: np.ndarray,
    positions: np.ndarray,
    alarms: np.ndarray,
    now_us: int,
) -> list[Candidate]:
    """What new PASSAGE, POSITION and ALARM rows come to; then they are in the state.

    Rows of vehicles that are not in the registry are left aside, and so are rows that came later than the lateness
    (counted in `late`). When a rule raises, the state stands as before.
    """
    rules = keyed.rules_of(book)
    if not rules.by_number:
        return []
    keys, sightings, received_us = records.sightings_of(book, rules, passages, positions, alarms)
    if not len(keys):
        return []
    candidates = _take_in(keyed, book, rules, keys, sightings)
    rows = keyed.find(keys)
    keyed.heard(rows, received_us)
    keyed.settle(np.unique(rows), rules)
    return candidates


def absorb(
    keyed: KeyedState, book: RuleBook, *, passages: np.ndarray, positions: np.ndarray, alarms: np.ndarray, now_us: int
) -> None:
    """Take in rows that were judged before (replay), saying nothing."""
    judge(keyed, book, passages=passages, positions=positions, alarms=alarms, now_us=now_us)


def tick(
    keyed: KeyedState,
    book: RuleBook,
    *,
    now_us: int,
    quiet: Iterable[int],
    logicals: Iterable[int] | None = None,
) -> list[Candidate]:
    """Timers that have run out by `now_us`, the time of a tick of the bus: overdue, long stop, dwell.

    `quiet`: checkpoints that are not heard of; of a vehicle on its way to one nothing is expected. `logicals`: the
    logical partitions that the tick is of; None: all that are held.
    """
    rules = keyed.rules_of(book)
    held = None if logicals is None else frozenset(logicals)
    keyed.warm_all(rules)
    unheard = frozenset(quiet)
    silent = [gate for gate, then in rules.next_of_gate.items() if then in unheard]
    excused = keyed.expected_at(silent, held) if silent else np.empty(0, np.int64)
    due = np.setdiff1d(keyed.due(now_us, held), excused)
    rows = np.concatenate([excused, due])
    candidates = []
    if len(rows):
        marks = np.zeros(len(rows), shapes.SIGHTING)
        marks["at"], marks["kind"], marks["speed_kmh"] = now_us, shapes.MARK, np.nan
        marks["flags"][: len(excused)] = shapes.QUIET
        candidates = _take_in(keyed, book, rules, keyed.keys_of(rows), marks)
    keyed.tell_time(now_us, held)
    return candidates


def _take_in(
    keyed: KeyedState, book: RuleBook, rules: KeyedRules, keys: np.ndarray, sightings: np.ndarray
) -> list[Candidate]:
    from traffic.vehicles.keyed.kernels import fold

    candidates: list[Candidate] = []
    turns: list[tuple[Fresh, int]] = []  # with how many of its vehicles were judged
    try:
        for fresh in keyed.lay_out(keys, sightings, rules):
            turns.append((fresh, 0))
            while turns[-1][1] < len(fresh.rows):
                out = keyed.out
                upto = fold.judge(keyed.store, fresh, turns[-1][1], rules.rules, rules.ways, out)
                turns[-1] = (fresh, upto)
                candidates += _told(keyed, book, rules, fresh, int(out.written[0]))
    except BaseException:
        for fresh, upto in reversed(turns):
            fold.undo(keyed.store, fresh, upto, rules.rules, rules.ways, keyed.out)
        raise
    for fresh, _ in turns:
        taken = np.add.reduceat(fresh.fate > 0, fresh.first[:-1]) > 0
        keyed.late += int(np.count_nonzero(fresh.sightings["at"] < keyed.store.settled_to[_row_of_each(fresh)]))
        newest = np.maximum.reduceat(fresh.sightings["at"], fresh.first[:-1])
        keyed.touched(fresh.rows[taken], newest[taken])
    return candidates


def _row_of_each(fresh: Fresh) -> np.ndarray:
    return np.repeat(fresh.rows, np.diff(fresh.first))


def _told(keyed: KeyedState, book: RuleBook, rules: KeyedRules, fresh: Fresh, events: int) -> list[Candidate]:
    """The events that kernels put down, as candidates: by vehicle, of each episode the last word."""
    if not events:
        return []
    out = keyed.out
    said: dict[int, tuple[list[tell.Word], list[tell.Word], list[tell.Word]]] = {}
    for number in range(events):
        event = out.events[number].copy()
        words = said.setdefault(int(event["vehicle"]), ([], [], []))
        words[int(event["side"])].append(tell.Word(event=event, proofs=out.proofs[number].copy()))
    candidates: list[Candidate] = []
    for vehicle, (direct, before, after) in said.items():
        row = int(fresh.rows[vehicle])
        teller = tell.Teller(book=book, rules=rules, key=keyed.key_of(row))
        if direct:
            candidates += [teller.candidate(word) for word in _last(direct).values()]
        else:
            late = fresh.sightings[fresh.first[vehicle] : fresh.first[vehicle + 1]]
            candidates += _differences(teller, _standing(keyed, row), before, after, late[0])
    return candidates


def _standing(keyed: KeyedState, row: int) -> Said:
    return {name: tell.Word(event=event, proofs=proofs) for name, (event, proofs) in keyed.standing(row).items()}


def _last(words: list[tell.Word]) -> Said:
    return {word.name: word for word in words}


def _differences(
    teller: tell.Teller, standing: Said, before: list[tell.Word], after: list[tell.Word], late: np.void
) -> list[Candidate]:
    """What late sightings changed: an episode said otherwise, no more, or newly.

    A word that still falls as it did, with another one behind it, is no correction: the episode has gone on.
    """
    was, is_now = {**standing, **_last(before)}, {**standing, **_last(after)}
    still: set[Any] = {word.content for word in after} | {word.content for word in standing.values()}
    told = []
    for name, word in is_now.items():
        old = was.get(name)
        if old is not None and old.content == word.content:
            continue
        corrected = old is not None and old.content not in still
        told.append(teller.candidate(word, late=late if corrected else None, before=old if corrected else None))
    told += [teller.retraction(word, late) for name, word in was.items() if name not in is_now]
    return told

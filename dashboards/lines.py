"""Lines with no more points than can be seen. Pure."""

from collections.abc import Sequence

Position = Sequence[float]  # lon, lat


def thinned(line: Sequence[Position], tolerance_deg: float) -> list[Position]:
    """The line without points that lie nearer than the tolerance to what is left of it (Douglas and Peucker, 1973)."""
    if len(line) < 3:
        return list(line)
    keep = {0, len(line) - 1}
    spans = [(0, len(line) - 1)]
    while spans:
        first, last = spans.pop()
        place, away = _farthest(line, first, last)
        if away > tolerance_deg:
            keep.add(place)
            spans += [(first, place), (place, last)]
    return [line[place] for place in sorted(keep)]


def _farthest(line: Sequence[Position], first: int, last: int) -> tuple[int, float]:
    (x0, y0), (x1, y1) = line[first][:2], line[last][:2]
    dx, dy = x1 - x0, y1 - y0
    square = dx * dx + dy * dy
    best, most = first, 0.0
    for place in range(first + 1, last):
        x, y = line[place][0] - x0, line[place][1] - y0
        share = min(1.0, max(0.0, (x * dx + y * dy) / square)) if square else 0.0
        away = ((x - share * dx) ** 2 + (y - share * dy) ** 2) ** 0.5
        if away > most:
            best, most = place, away
    return best, most

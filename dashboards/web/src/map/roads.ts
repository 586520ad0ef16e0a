/** From the picture of the roads to what the map draws. Pure. */
import { along, RoadLines, stakesAlong, type LinkFeature, type Point } from '../lib/geometry';
import type {
  CrewFacts, CrewRow, Detector, LaneHealth, LinkState, RoadEvent, RoadFacts, RoadsideObject, VehicleRow, WeatherReport,
} from '../lib/types';

type Points<P> = GeoJSON.FeatureCollection<GeoJSON.Point, P>;
type Shapes = GeoJSON.FeatureCollection<GeoJSON.Point | GeoJSON.LineString>;

function points<P>(features: { at: readonly [number, number] | number[]; properties: P }[]): Points<P> {
  return {
    type: 'FeatureCollection',
    features: features.map(({ at, properties }) => ({
      type: 'Feature',
      geometry: { type: 'Point', coordinates: [...at] },
      properties,
    })),
  };
}

/** Links with the kind of their road, which says from which zoom they are drawn. */
export function linkLines(links: readonly LinkFeature[], roads: ReadonlyMap<number, RoadFacts>): GeoJSON.FeatureCollection {
  return {
    type: 'FeatureCollection',
    features: links.map((link) => ({
      type: 'Feature',
      id: link.properties.id,
      geometry: link.geometry,
      properties: { id: link.properties.id, kind: roads.get(link.properties.road)?.kind ?? 'trunk' },
    })),
  };
}

/** The number of a grave level beside its link, for who cannot tell colours: states from 4, risks from 3. */
export function levelMarks(links: readonly LinkFeature[], levelOf: (id: number) => number, from: number): Points<{ level: number; mark: string }> {
  return points(
    links.flatMap((link) => {
      const level = levelOf(link.properties.id);
      if (level < from) return [];
      const { at } = along(link.geometry.coordinates as Point[], 0.4); // the two directions get theirs at different places
      return [{ at, properties: { level, mark: String(level) } }];
    }),
  );
}

/** Congestion, works and weather from tail to head, and a sign at the head of each event. */
export function eventShapes(events: Iterable<RoadEvent>, lines: RoadLines, isFresh: (id: string) => boolean): Shapes {
  const features: Shapes['features'] = [];
  for (const event of events) {
    const common = { id: event.id, kind: event.kind, level: event.level, ended: event.state !== 'open', fresh: isFresh(event.id) };
    if (event.head_stake_m !== event.tail_stake_m)
      for (const { line } of lines.between(event.road, event.direction, event.tail_stake_m, event.head_stake_m))
        if (line.length > 1)
          features.push({ type: 'Feature', geometry: { type: 'LineString', coordinates: line }, properties: common });
    const head = lines.pointAt(event.road, event.head_stake_m, event.direction);
    if (head)
      features.push({ type: 'Feature', geometry: { type: 'Point', coordinates: head.at }, properties: { ...common, mark: String(event.level) } });
  }
  return { type: 'FeatureCollection', features };
}

export type WeatherTone = 'grave' | 'bad' | 'fair';

/** How hard a report is on drivers: ice or sight under 50 m is grave, wet or sight under 200 m is bad. */
export function weatherTone(report: WeatherReport): WeatherTone {
  const sight = report.visibility_m ?? Infinity;
  if (sight < 50 || ['ice', 'black_ice', 'flooded'].includes(report.surface ?? '') || report.precipitation === 'freezing_rain') return 'grave';
  if (sight < 200 || report.surface === 'snow' || ['snow', 'sleet', 'hail'].includes(report.precipitation ?? '')) return 'bad';
  return 'fair';
}

export function weatherShapes(reports: Iterable<WeatherReport>, lines: RoadLines, label: (report: WeatherReport) => string): Shapes {
  const features: Shapes['features'] = [];
  for (const report of reports) {
    const properties = { id: report.id, tone: weatherTone(report), label: label(report) };
    const drawn = lines.between(report.road, report.direction === 0 ? 1 : report.direction, report.from_stake_m, report.to_stake_m);
    for (const { line } of drawn) if (line.length > 1) features.push({ type: 'Feature', geometry: { type: 'LineString', coordinates: line }, properties });
    const middle = lines.pointAt(report.road, (report.from_stake_m + report.to_stake_m) / 2, report.direction);
    if (middle) features.push({ type: 'Feature', geometry: { type: 'Point', coordinates: middle.at }, properties });
  }
  return { type: 'FeatureCollection', features };
}

const WORST: LaneHealth['state'][] = ['failed', 'silent', 'suspect', 'ok'];

/** The worst state of a sensor's lanes. */
export function worstOf(states: Iterable<LaneHealth['state']>): LaneHealth['state'] {
  const found = new Set(states);
  return WORST.find((state) => found.has(state)) ?? 'ok';
}

export function detectorDots(detectors: readonly Detector[], healthOf: (id: number) => LaneHealth['state'] | 'unknown'): Points<{ id: number; health: string }> {
  return points(
    detectors.map(({ id, lon, lat }) => ({ at: [lon, lat] as Point, properties: { id, health: healthOf(id) } })),
  );
}

export function objectDots(objects: readonly RoadsideObject[], shows: (kind: string) => boolean): Points<{ id: number; kind: string; name: string; name_en: string; enabled: boolean }> {
  return points(
    objects
      .filter((one) => shows(one.kind))
      .map((one) => ({
        at: [one.lon, one.lat] as Point,
        properties: { id: one.id, kind: one.kind, name: one.name, name_en: one.name_en, enabled: one.enabled },
      })),
  );
}

export function crewDots(rows: Iterable<CrewRow>, facts: ReadonlyMap<number, CrewFacts>, isFresh: (observed_us: number) => boolean): Points<{ id: number; bearing: number; fresh: boolean; code: string }> {
  return points(
    [...rows].map(([id, observed, lon, lat, , bearing]) => ({
      at: [lon, lat] as Point,
      properties: { id, bearing: bearing ?? 0, fresh: isFresh(observed), code: facts.get(id)?.code ?? String(id) },
    })),
  );
}

export function vehicleDots(rows: Iterable<[string, VehicleRow]>, isFresh: (observed_us: number) => boolean): Points<{ id: string; kind: string; fresh: boolean }> {
  return points(
    [...rows].map(([key, [, , kind, observed, lon, lat]]) => ({
      at: [lon, lat] as Point,
      properties: { id: key, kind, fresh: isFresh(observed) },
    })),
  );
}

/** Stakes to be written: every 50 km from afar, 10 km nearer, 1 km close by. */
export function stakeLabels(lines: RoadLines, roads: Iterable<RoadFacts>): Points<{ label: string; every: number }> {
  return points(
    [...roads].flatMap((road) =>
      stakesAlong(lines.of(road.id), 1_000).map(({ stake_m, at }) => ({
        at,
        properties: { label: `K${stake_m / 1_000}`, every: stake_m % 50_000 === 0 ? 50 : stake_m % 10_000 === 0 ? 10 : 1 },
      })),
    ),
  );
}

/** Length-weighted mean level 0..5 and known share of links, for the tint of an area. */
export function areaTone(links: readonly LinkFeature[], stateOf: (id: number) => LinkState): { known: number; congested: number } {
  let whole = 0;
  let known = 0;
  let congested = 0;
  for (const { properties } of links) {
    const { level } = stateOf(properties.id);
    whole += properties.length_m;
    if (level > 0) known += properties.length_m;
    if (level >= 3) congested += properties.length_m;
  }
  return { known: whole === 0 ? 0 : known / whole, congested: known === 0 ? 0 : congested / known };
}

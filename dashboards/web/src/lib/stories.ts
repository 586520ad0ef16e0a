/** From findings, tracks and dry runs to what a page's map shows. Pure. */
import type { Field, Spot, Story, Way } from '../map/story';
import type { Point } from './geometry';
import type { DryRunResult, Fence, TrackPoint } from './keytypes';
import type { Checkpoint, Observation } from './types';

const CIRCLE_CORNERS = 48;
const EARTH_M = 6_371_000;

type Gate = (id: number) => Checkpoint | undefined;

/** Where an observation was; null where nothing says. */
export function pointOf(seen: { checkpoint?: number; lon?: number | null; lat?: number | null }, gate: Gate): Point | null {
  if (typeof seen.lon === 'number' && typeof seen.lat === 'number') return [seen.lon, seen.lat];
  const place = seen.checkpoint ? gate(seen.checkpoint) : undefined;
  return place ? [place.lon, place.lat] : null;
}

/** Observations in order of time, one spot a place with all its numbers; the way as the server knows it, else straight. */
export function findingStory(observations: readonly Observation[], known: GeoJSON.FeatureCollection | null, gate: Gate): Story {
  const ways = (known?.features ?? []).flatMap((feature): Way[] => waysOf(feature));
  const spots = numbered(observations.map((seen) => ({ key: seen.record, at: pointOf(seen, gate) })));
  const straight: Way[] = ways.length > 0 ? [] : [{ path: placesOf(observations, gate), tone: 'usual' }];
  return { spots, ways: [...ways, ...straight], fields: (known?.features ?? []).flatMap(fieldOf) };
}

export function trackStory(points: readonly TrackPoint[], gate: Gate): Story {
  const inOrder = [...points].reverse(); // they come newest first
  return {
    spots: numbered(inOrder.map((point) => ({ key: point.record, at: pointOf(point, gate) }))),
    ways: [{ path: placesOf(inOrder, gate), tone: 'usual' }],
    fields: [],
  };
}

export function dryRunStory(result: DryRunResult, gate: Gate): Story {
  const most = Math.max(1, ...result.by_checkpoint.map((one) => one.count));
  const spots = result.by_checkpoint.flatMap(({ checkpoint, count }): Spot[] => {
    const at = pointOf({ checkpoint }, gate);
    return at ? [{ id: String(checkpoint), lon: at[0], lat: at[1], label: String(count), tone: 'count', size: count / most }] : [];
  });
  return { spots, ways: [], fields: [] };
}

/** The corners of a fence; a circle becomes a polygon to look at. */
export function ringOf(shape: Fence['shape']): Point[] {
  if (shape.type === 'Polygon') return (shape.coordinates[0] ?? []).slice(0, -1) as Point[];
  return circle(shape.centre, shape.radius_m);
}

export function circle([lon, lat]: [number, number], radiusM: number): Point[] {
  const up = ((radiusM / EARTH_M) * 180) / Math.PI;
  const aside = up / Math.cos((lat * Math.PI) / 180);
  return Array.from({ length: CIRCLE_CORNERS }, (_, number): Point => {
    const turn = (2 * Math.PI * number) / CIRCLE_CORNERS;
    return [lon + aside * Math.cos(turn), lat + up * Math.sin(turn)];
  });
}

/** Metres between two points, near enough for a fence. */
export function metresBetween([lon, lat]: Point, [lon2, lat2]: Point): number {
  const rad = Math.PI / 180;
  return Math.hypot((lat2 - lat) * rad, (lon2 - lon) * rad * Math.cos(lat * rad)) * EARTH_M;
}

function numbered(places: { key: string; at: Point | null }[]): Spot[] {
  const spots = new Map<string, Spot & { numbers: number[] }>();
  places.forEach(({ key, at }, index) => {
    if (at === null) return;
    const where = at.map((degree) => degree.toFixed(5)).join();
    const spot = spots.get(where);
    const last = index === places.length - 1;
    if (spot) {
      spot.numbers.push(index + 1);
      spot.id = key;
      if (last) spot.tone = 'last';
    } else spots.set(where, { id: key, lon: at[0], lat: at[1], label: '', tone: last ? 'last' : 'seen', numbers: [index + 1] });
  });
  return [...spots.values()].map(({ numbers, ...spot }) => ({ ...spot, label: numbers.length > 2 ? `${numbers[0]}…${numbers.at(-1)}` : numbers.join('·') }));
}

function placesOf(seen: readonly { checkpoint?: number; lon?: number | null; lat?: number | null }[], gate: Gate): Point[] {
  return seen.flatMap((one) => {
    const at = pointOf(one, gate);
    return at ? [at] : [];
  });
}

function waysOf(feature: GeoJSON.Feature): Way[] {
  const kind = String(feature.properties?.['kind'] ?? feature.properties?.['role'] ?? '');
  const tone: Way['tone'] = kind === 'road' || kind === 'route' ? 'road' : kind === 'straight' ? 'usual' : 'way';
  if (feature.geometry.type === 'LineString') return [{ path: feature.geometry.coordinates as Point[], tone }];
  if (feature.geometry.type === 'MultiLineString') return feature.geometry.coordinates.map((path) => ({ path: path as Point[], tone }));
  return [];
}

function fieldOf(feature: GeoJSON.Feature, number: number): Field[] {
  if (feature.geometry.type !== 'Polygon') return [];
  const ring = (feature.geometry.coordinates[0] ?? []).slice(0, -1) as Point[];
  return [{ id: `field-${number}`, ring, tone: 'forbidden', label: String(feature.properties?.['name'] ?? '') }];
}

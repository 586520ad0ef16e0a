/** From facts to what the map draws. Pure. */
import { pointOf } from '../lib/stories';
import type { Alert, Area, Bounds, Checkpoint, DivisionFacts, Flow } from '../lib/types';

export type Tone = 'free' | 'slow' | 'jam' | 'unmeasured' | 'quiet' | 'unknown';

export const FREE_SHARE = 0.7; // of the limit; a display threshold, no judgement of congestion
export const SLOW_SHARE = 0.4;
export const ALERT_ON_MAP_S = 15 * 60; // longer, and the map is full of rings; the list keeps them all

type Points<P> = GeoJSON.FeatureCollection<GeoJSON.Point, P>;

/** How a checkpoint is coloured: by mean speed as a share of its limit. No flow at all: unknown. */
export function toneOf(checkpoint: Checkpoint, flow: Flow | undefined): Tone {
  if (flow === undefined || flow.per_minute === null) return 'unknown';
  if (flow.per_minute === 0) return 'quiet';
  if (flow.speed_kmh === null || checkpoint.limit_kmh <= 0) return 'unmeasured';
  const share = flow.speed_kmh / checkpoint.limit_kmh;
  return share >= FREE_SHARE ? 'free' : share >= SLOW_SHARE ? 'slow' : 'jam';
}

export interface CheckpointDot {
  id: number;
  name: string;
  name_en: string;
  tone: Tone;
  flow: number; // 0 where unknown: the tone says that it is no zero
  label: string; // the number beside the dot; empty where unknown
}

export function checkpointDots(area: Area, flowOf: (id: number) => Flow | undefined): Points<CheckpointDot> {
  return {
    type: 'FeatureCollection',
    features: area.checkpoints.map((checkpoint) => {
      const flow = flowOf(checkpoint.id);
      const tone = toneOf(checkpoint, flow);
      const count = flow?.per_minute ?? null;
      return {
        type: 'Feature',
        id: checkpoint.id,
        geometry: { type: 'Point', coordinates: [checkpoint.lon, checkpoint.lat] },
        properties: {
          id: checkpoint.id,
          name: checkpoint.name,
          name_en: checkpoint.name_en,
          tone,
          flow: count ?? 0,
          label: count === null ? '' : String(Math.round(count)),
        },
      };
    }),
  };
}

export interface AlertRing {
  id: string;
  level: number;
  mark: string;
}

/** The newest places of standing alerts, gravest per checkpoint. */
export function alertRings(
  alerts: Iterable<Alert>,
  checkpoint: (id: number) => Checkpoint | undefined,
  nowUs: number,
): Points<AlertRing> {
  const gravest = new Map<string, { alert: Alert; at: [number, number] }>();
  for (const alert of alerts) {
    const at = alert.observations.at(-1);
    if (!at || alert.state !== 'active' || nowUs - alert.observed_at > ALERT_ON_MAP_S * 1e6) continue;
    if (alert.shelf || alert.verification?.verdict === 'false') continue;
    const place = pointOf(at, checkpoint);
    if (place === null) continue;
    const where = at.checkpoint ? String(at.checkpoint) : alert.id; // a device's own place is shared with no other
    const other = gravest.get(where);
    if (!other || alert.level < other.alert.level) gravest.set(where, { alert, at: [place[0], place[1]] });
  }
  return {
    type: 'FeatureCollection',
    features: [...gravest.values()].map(({ alert, at }) => ({
      type: 'Feature',
      geometry: { type: 'Point', coordinates: at },
      properties: { id: alert.id, level: alert.level, mark: String(alert.level) },
    })),
  };
}

/** The selected alert: its places in order of time, and the line between them. */
export function trail(
  alert: Alert | undefined,
  checkpoint: (id: number) => Checkpoint | undefined,
): GeoJSON.FeatureCollection<GeoJSON.Point | GeoJSON.LineString> {
  const path = (alert?.observations ?? []).flatMap((seen): [number, number][] => {
    const at = pointOf(seen, checkpoint);
    return at === null ? [] : [[at[0], at[1]]];
  });
  const features: GeoJSON.Feature<GeoJSON.Point | GeoJSON.LineString>[] = path.map((coordinates, number) => ({
    type: 'Feature',
    geometry: { type: 'Point', coordinates },
    properties: { last: number === path.length - 1 },
  }));
  if (path.length > 1)
    features.push({ type: 'Feature', geometry: { type: 'LineString', coordinates: path }, properties: {} });
  return { type: 'FeatureCollection', features };
}

/** One point inside each division for its name. */
export function divisionNames(area: Area, figures: ReadonlyMap<number, string> = new Map()): Points<DivisionFacts & { figure: string }> {
  return {
    type: 'FeatureCollection',
    features: area.divisions.features.map((division) => ({
      type: 'Feature',
      geometry: { type: 'Point', coordinates: middle(division.geometry) },
      properties: { ...division.properties, figure: figures.get(division.properties.adcode) ?? '' },
    })),
  };
}

/** The centroid of the largest outer ring. */
export function middle(geometry: GeoJSON.Polygon | GeoJSON.MultiPolygon): [number, number] {
  const rings = geometry.type === 'Polygon' ? [geometry.coordinates[0]] : geometry.coordinates.map((p) => p[0]);
  let best: { area: number; at: [number, number] } = { area: -1, at: [0, 0] };
  for (const ring of rings) {
    if (!ring || ring.length < 3) continue;
    let twice = 0;
    let x = 0;
    let y = 0;
    ring.forEach((from, number) => {
      const to = ring[(number + 1) % ring.length] ?? from;
      const [x0 = 0, y0 = 0] = from;
      const [x1 = 0, y1 = 0] = to;
      const cross = x0 * y1 - x1 * y0;
      twice += cross;
      x += (x0 + x1) * cross;
      y += (y0 + y1) * cross;
    });
    const size = Math.abs(twice);
    if (size > best.area && twice !== 0) best = { area: size, at: [x / (3 * twice), y / (3 * twice)] };
  }
  return best.at;
}

/** Bounds that MapLibre may be asked to fit: never a point, never upside down. */
export function fitting(bounds: Bounds): Bounds {
  const [west, south, east, north] = bounds;
  const margin = 0.02;
  return [Math.min(west, east) - margin, Math.min(south, north) - margin, Math.max(west, east) + margin, Math.max(south, north) + margin];
}

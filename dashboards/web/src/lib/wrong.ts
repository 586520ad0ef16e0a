/** What is wrong now, as one list: stopped parts, events on the roads, sick sensors, alerts. Pure. */
import type { Alert, EventKind, RoadEvent, SensorRow, StoppedPart } from './types';

export type WrongKind = 'part' | EventKind | 'alert';
export const WRONG_KINDS: WrongKind[] = ['incident', 'congestion', 'weather', 'works', 'sensor', 'alert'];
// older and lesser alerts are in their own list, or they would bury what is wrong on the roads
export const ALERT_WRONG_S = 30 * 60;
export const ALERT_WRONG_LEVEL = 2;
const FAILED_MANY = 5;

interface Common {
  key: string;
  level: number; // 0 before all others, 1 gravest .. 4
  since: number; // microseconds
}
export type Wrong =
  | (Common & { kind: 'part'; part: StoppedPart })
  | (Common & { kind: EventKind; event: RoadEvent })
  | (Common & { kind: 'sensor'; road: string; rows: SensorRow[] })
  | (Common & { kind: 'alert'; alert: Alert });

export interface Matters {
  parts: readonly StoppedPart[];
  events: Iterable<RoadEvent>;
  sensors: readonly SensorRow[] | null; // null: not asked yet, sensor events stand for them
  alerts: Iterable<Alert>;
  nowUs: number;
}

/** Gravest first, then newest first. */
export function whatIsWrong(matters: Matters): Wrong[] {
  const list: Wrong[] = [
    ...matters.parts.map((part): Wrong => ({ kind: 'part', key: `part:${part.part}`, level: 0, since: part.since, part })),
    ...[...matters.events]
      .filter((event) => event.state === 'open' && (event.kind !== 'sensor' || matters.sensors === null))
      .map((event): Wrong => ({ kind: event.kind, key: event.id, level: event.level, since: event.started_at, event })),
    ...sickByRoad(matters.sensors ?? []),
    ...[...matters.alerts]
      .filter((alert) => alert.state === 'active' && alert.level <= ALERT_WRONG_LEVEL)
      .filter((alert) => matters.nowUs - alert.observed_at < ALERT_WRONG_S * 1e6)
      .map((alert): Wrong => ({ kind: 'alert', key: alert.id, level: alert.level, since: alert.observed_at, alert })),
  ];
  return list.sort((a, b) => a.level - b.level || b.since - a.since || (a.key < b.key ? -1 : 1));
}

/** Sensors that count for nothing any more, one line a road; many of them are graver. */
function sickByRoad(rows: readonly SensorRow[]): Wrong[] {
  const roads = new Map<string, SensorRow[]>();
  for (const row of rows)
    if (row.state === 'failed' || row.state === 'silent') roads.set(row.road, [...(roads.get(row.road) ?? []), row]);
  return [...roads].map(([road, sick]): Wrong => {
    const sensors = new Set(sick.map((row) => `${row.kind}${row.id}`)).size;
    return {
      kind: 'sensor',
      key: `sensors:${road}`,
      level: sensors >= FAILED_MANY ? 3 : 4,
      since: Math.max(...sick.map((row) => row.since)),
      road,
      rows: sick,
    };
  });
}

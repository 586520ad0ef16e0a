/** Units beside each other, the worst first. Pure. */
import type { AreaNow } from './types';

export interface Standing extends AreaNow {
  before: number | null; // index a quarter of an hour ago
  alerts: number;
}

export type IndexTrend = 'up' | 'down' | 'flat' | 'none';
const MOVED = 0.3; // of an index 0..10; less is noise

export function trendOf(row: { index: AreaNow['index']; before: number | null }): IndexTrend {
  const now = row.index?.index ?? null;
  if (now === null || row.before === null) return 'none';
  return now - row.before > MOVED ? 'up' : row.before - now > MOVED ? 'down' : 'flat';
}

/** By index, the worst first; those of which nothing is known stand behind the known, most open events first. */
export function sorted(rows: Standing[]): Standing[] {
  const events = (row: Standing) => (row.events_open.incident ?? 0) * 100 + (row.events_open.congestion ?? 0);
  return [...rows].sort(
    (a, b) => (b.index?.index ?? -1) - (a.index?.index ?? -1) || events(b) - events(a) || a.unit.id - b.unit.id,
  );
}

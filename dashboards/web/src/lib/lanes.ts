/** What the lanes of a detector say now, out of their last half hour. Pure. */
import type { DetectorStory, LaneHealth } from './types';

export const LANE_FRESH_S = 90;

export interface LaneNow {
  lane: number;
  fresh: boolean; // a report within LANE_FRESH_S
  atUs: number | null;
  speed_kmh: number | null;
  flow_vph: number | null;
  occupancy: number | null;
  speeds: (number | null)[];
  state: LaneHealth['state'] | 'unknown';
  reason: string;
}

export function lanesNow(story: DetectorStory, nowUs: number, period_s = 30): LaneNow[] {
  const health = new Map(story.health.map((lane) => [lane.lane, lane]));
  const series = new Map(story.lanes.map((lane) => [lane.lane, lane.series]));
  const numbers = [...new Set([...series.keys(), ...health.keys()])].sort((a, b) => a - b);
  return numbers.map((lane) => {
    const rows = series.get(lane) ?? [];
    const [at = null, vehicles = null, occupancy = null, speed = null] = rows.at(-1) ?? [];
    const fresh = at !== null && nowUs - at <= LANE_FRESH_S * 1e6;
    const ill = health.get(lane);
    return {
      lane,
      fresh,
      atUs: at,
      speed_kmh: speed,
      flow_vph: vehicles === null ? null : (vehicles * 3600) / period_s,
      occupancy,
      speeds: rows.map((row) => row[3] ?? null),
      state: ill?.state ?? (fresh ? 'ok' : 'unknown'),
      reason: ill?.reason ?? '',
    };
  });
}

/** A series beside the same hours a week before. Pure. */
import type { Trend } from './types';

export const WEEK_S = 7 * 86_400;

export interface Aligned {
  times: number[]; // seconds
  now: (number | null)[];
  before: (number | null)[];
}

/** Both series on the times of now; where one has no bucket it has a gap. */
export function aligned(trend: Trend): Aligned {
  const now = new Map(trend.series.map(([at, value]) => [Math.round((at ?? 0) / 1e6), value ?? null]));
  const before = new Map(trend.before.map(([at, value]) => [Math.round((at ?? 0) / 1e6) + WEEK_S, value ?? null]));
  const known = [...now.keys(), ...before.keys()].sort((a, b) => a - b);
  const times: number[] = [];
  for (let at = known[0] ?? 0; at <= (known.at(-1) ?? -1); at += Math.max(1, trend.bucket_s)) times.push(at);
  return { times, now: times.map((at) => now.get(at) ?? null), before: times.map((at) => before.get(at) ?? null) };
}

/** The value of so many seconds ago, the nearest within a bucket and a half. */
export function valueAgo(trend: Trend, nowS: number, ago_s: number): number | null {
  let best: { away: number; value: number } | null = null;
  for (const [at, value] of trend.series) {
    if (at == null || value == null) continue;
    const away = Math.abs(at / 1e6 - (nowS - ago_s));
    if (away <= Math.max(trend.bucket_s * 1.5, 120) && (best === null || away < best.away)) best = { away, value };
  }
  return best?.value ?? null;
}

/** The value of the same moment a week before. */
export function valueLastWeek(trend: Trend, nowS: number): number | null {
  return valueAgo({ ...trend, series: trend.before }, nowS, WEEK_S);
}

/** A squadron's stretch as a strip: where stakes, spans and labels go. Pure; lengths in whatever unit the caller has. */

export interface Scale {
  low_m: number;
  high_m: number;
  y: (stake_m: number) => number; // stakes increase upwards, as a driver in direction 1 sees them
}

export function scaleOf(low_m: number, high_m: number, top: number, bottom: number): Scale {
  const whole = Math.max(1, high_m - low_m);
  return { low_m, high_m, y: (stake_m) => bottom - ((stake_m - low_m) / whole) * (bottom - top) };
}

const STEPS_M = [500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000];

/** Round stakes so that two neighbours lie at least `gap` apart. */
export function ticks(scale: Scale, gap: number): number[] {
  const perMetre = Math.abs(scale.y(scale.high_m) - scale.y(scale.low_m)) / Math.max(1, scale.high_m - scale.low_m);
  const step = STEPS_M.find((metres) => metres * perMetre >= gap) ?? 100_000;
  const found: number[] = [];
  for (let stake = Math.ceil(scale.low_m / step) * step; stake <= scale.high_m; stake += step) found.push(stake);
  return found;
}

export interface Placed<T> {
  item: T;
  y: number; // where it truly is
  at: number; // where its label stands
}

/** Labels pushed apart so that none overlaps: those that matter less give way, and go where too far from their place. */
export function apart<T extends { weight: number }>(items: { item: T; y: number }[], gap: number, top: number, bottom: number, far: number): Placed<T>[] {
  let kept = [...items].sort((a, b) => a.y - b.y);
  for (;;) {
    const placed = pushed(kept, gap, top, bottom);
    const worst = placed.filter((one) => Math.abs(one.at - one.y) > far).sort((a, b) => a.item.weight - b.item.weight || Math.abs(b.at - b.y) - Math.abs(a.at - a.y))[0];
    const room = kept.length * gap <= bottom - top;
    if (!worst && room) return placed;
    // the lightest near the worst place goes: it is what makes the crowd
    const near = kept.filter((one) => worst === undefined || Math.abs(one.y - worst.y) <= far * 3);
    const lightest = near.reduce((least, one) => (one.item.weight < least.item.weight ? one : least), near[0] as (typeof near)[number]);
    kept = kept.filter((one) => one !== lightest);
    if (kept.length === 0) return [];
  }
}

function pushed<T>(items: { item: T; y: number }[], gap: number, top: number, bottom: number): Placed<T>[] {
  const placed = items.map(({ item, y }) => ({ item, y, at: y }));
  for (let i = 0; i < placed.length; i++) {
    const one = placed[i] as Placed<T>;
    one.at = Math.max(one.y, top + gap / 2, i === 0 ? -Infinity : (placed[i - 1] as Placed<T>).at + gap);
  }
  for (let i = placed.length - 1; i >= 0; i--) {
    const one = placed[i] as Placed<T>;
    one.at = Math.min(one.at, i === placed.length - 1 ? bottom - gap / 2 : (placed[i + 1] as Placed<T>).at - gap);
  }
  return placed;
}

/** In which order alerts stand, and which of them a filter lets through. Pure. */
import type { Alert } from './types';

export const PINNED_FOR_S = 2 * 3600; // an older one that nobody noted must not hide what happens now

export interface Filter {
  levels: ReadonlySet<number>; // empty: all
  kinds: ReadonlySet<string>; // empty: all
}

export interface Arranged {
  pinned: Alert[]; // level 1, standing, not noted: on top
  rest: Alert[];
}

export function passes(alert: Alert, filter: Filter): boolean {
  return (
    (filter.levels.size === 0 || filter.levels.has(alert.level)) &&
    (filter.kinds.size === 0 || filter.kinds.has(alert.kind))
  );
}

export function isPinned(alert: Alert, noted: ReadonlySet<string>, nowUs: number): boolean {
  return (
    alert.level === 1 &&
    alert.state === 'active' &&
    !noted.has(alert.id) &&
    nowUs - alert.observed_at < PINNED_FOR_S * 1e6
  );
}

/** Newest observation first; a retraction doesn't move an alert, so that the eye finds it where it stood. */
export function arrange(alerts: Iterable<Alert>, filter: Filter, noted: ReadonlySet<string>, nowUs: number): Arranged {
  const shown = [...alerts].filter((alert) => passes(alert, filter));
  shown.sort((a, b) => b.observed_at - a.observed_at || (a.id < b.id ? -1 : 1));
  const pinned = shown.filter((alert) => isPinned(alert, noted, nowUs));
  const rest = shown.filter((alert) => !isPinned(alert, noted, nowUs));
  return { pinned, rest };
}

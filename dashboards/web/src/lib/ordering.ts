/** In which order alerts stand, and which of them a filter lets through. Pure. */
import type { Alert } from './types';

export const PINNED_FOR_S = 2 * 3600; // an older one that nobody noted must not hide what happens now

export interface Filter {
  levels: ReadonlySet<number>; // empty: all
  kinds: ReadonlySet<string>; // empty: all
  verification?: string; // '': all
  shelved?: boolean; // also what was put aside
}

export interface Arranged {
  pinned: Alert[]; // level 1, standing, not noted: on top
  rest: Alert[];
}

export function passes(alert: Alert, filter: Filter): boolean {
  return (
    (filter.levels.size === 0 || filter.levels.has(alert.level)) &&
    (filter.kinds.size === 0 || filter.kinds.has(alert.kind)) &&
    isVerified(alert, filter.verification ?? '') &&
    (filter.shelved !== false || !alert.shelf)
  );
}

/** `open`: somebody must still look at it. '' lets all through. */
export function isVerified(alert: Alert, wanted: string): boolean {
  if (wanted === '') return true;
  if (wanted === 'open') return alert.needs_verification === true && !alert.verification && alert.state === 'active';
  return alert.verification?.verdict === wanted;
}

/** The filter of the list of findings, for those that the live view tells; '' lets all through. */
export function passesFilter(alert: Alert, filter: { kind: string; level: string; state: string; verification: string; plate: string; shelved: string }): boolean {
  return (
    (filter.kind === '' || alert.kind === filter.kind) &&
    (filter.level === '' || String(alert.level) === filter.level) &&
    (filter.state === '' || alert.state === filter.state) &&
    isVerified(alert, filter.verification) &&
    (filter.shelved === 'all' || (filter.shelved === 'only') === !!alert.shelf) &&
    (filter.plate === '' || alert.plate === filter.plate)
  );
}

/** A listed page in its newest revisions, with what came since and passes; newest first. `whole`: nothing older exists. */
export function renewed(listed: readonly Alert[], known: ReadonlyMap<string, Alert>, passes: (alert: Alert) => boolean, whole: boolean): Alert[] {
  const merged = new Map(listed.map((alert) => [alert.id, alert]));
  const oldest = Math.min(...listed.map((alert) => alert.raised_at));
  for (const alert of known.values()) {
    const here = merged.get(alert.id);
    if (here ? alert.revision > here.revision : passes(alert) && (whole || alert.raised_at >= oldest)) merged.set(alert.id, alert);
  }
  return [...merged.values()].sort((a, b) => b.raised_at - a.raised_at || (a.id < b.id ? -1 : 1));
}

export function isPinned(alert: Alert, noted: ReadonlySet<string>, nowUs: number): boolean {
  return (
    alert.level === 1 &&
    alert.state === 'active' &&
    !noted.has(alert.id) &&
    !alert.shelf &&
    alert.verification?.verdict !== 'false' &&
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

import { expect, it } from 'vitest';
import { arrange, PINNED_FOR_S } from '../src/lib/ordering';
import type { Alert } from '../src/lib/types';

const NOW = 10_000_000_000_000;
const ALL = { levels: new Set<number>(), kinds: new Set<string>() };

function alert(id: string, level: number, agoS: number, more: Partial<Alert> = {}): Alert {
  return { id, level, kind: 'watch_hit', state: 'active', observed_at: NOW - agoS * 1e6, observations: [], ...more } as Alert;
}
const ids = (alerts: Alert[]) => alerts.map((one) => one.id);

it('level 1 that nobody noted stands on top, all others by time', () => {
  const alerts = [alert('old1', 1, 600), alert('new3', 3, 5), alert('noted1', 1, 60), alert('older2', 2, 700)];
  const { pinned, rest } = arrange(alerts, ALL, new Set(['noted1']), NOW);
  expect(ids(pinned)).toEqual(['old1']);
  expect(ids(rest)).toEqual(['new3', 'noted1', 'older2']);
});

it('an old level 1 no longer hides what happens now', () => {
  const { pinned } = arrange([alert('a', 1, PINNED_FOR_S + 1)], ALL, new Set(), NOW);
  expect(pinned).toEqual([]);
});

it('a retraction leaves an alert where it stood', () => {
  const before = [alert('a', 2, 10), alert('b', 2, 20), alert('c', 2, 30)];
  const after = before.map((one) => (one.id === 'b' ? { ...one, state: 'retracted' as const, raised_at: NOW } : one));
  expect(ids(arrange(after, ALL, new Set(), NOW).rest)).toEqual(ids(arrange(before, ALL, new Set(), NOW).rest));
});

it('a retracted level 1 is not kept on top', () => {
  expect(arrange([alert('a', 1, 10, { state: 'retracted' })], ALL, new Set(), NOW).pinned).toEqual([]);
});

it('filters by level and by kind together', () => {
  const alerts = [alert('a', 1, 1), alert('b', 2, 2), alert('c', 2, 3, { kind: 'section_speed' })];
  const { pinned, rest } = arrange(alerts, { levels: new Set([2]), kinds: new Set(['section_speed']) }, new Set(), NOW);
  expect(ids([...pinned, ...rest])).toEqual(['c']);
});

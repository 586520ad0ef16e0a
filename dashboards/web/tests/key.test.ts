import { describe, expect, it } from 'vitest';
import { differences } from '../src/lib/changes';
import { dayAfter, daysLeft, everyDay, usOf, withOffset } from '../src/lib/days';
import { isVerified, passesFilter, renewed } from '../src/lib/ordering';
import { mayOpen, pagesOf } from '../src/lib/pages';
import { hashOf, readHash } from '../src/lib/route.svelte';
import { FIRST_POLICY, isHeard, soundLevel, SoundPace } from '../src/lib/sound';
import { circle, dryRunStory, findingStory, metresBetween, trackStory } from '../src/lib/stories';
import { minuteOf, painted, weekOf } from '../src/lib/weekgrid';
import type { Alert, Checkpoint } from '../src/lib/types';

function alert(fields: Partial<Alert> = {}): Alert {
  return {
    id: 'a', kind: 'watch_hit', revision: 1, change: 'new', state: 'active', level: 1, plate: '吉A88888', plate_class_group: 2,
    rule: { id: 1, version: 1, name: '', clause: '' }, confidence: 1, first_at: 1, observed_at: 1, raised_at: 1, count: 1,
    observations: [], cause: null, ...fields,
  };
}

describe('sounds', () => {
  it('come once per level in ten seconds, the gravest first', () => {
    const pace = new SoundPace();
    const policy = { ...FIRST_POLICY, levels: [...FIRST_POLICY.levels, { level: 4, sound: null, every_s_min: 10 }] };
    expect(pace.take([3, 1, 3], policy, 0)).toEqual([1, 3]);
    expect(pace.take([1, 2, 4], policy, 9_999)).toEqual([2]); // level 4 is never heard
    expect(pace.take([1, 2, 3], policy, 10_000)).toEqual([1, 3]);
  });

  it('of a doubtful match are not as loud as its entry before a person has looked', () => {
    const misread = alert({ match: { how: 'misread', probability: 0.4 } });
    expect(soundLevel(misread, FIRST_POLICY)).toBe(3);
    expect(soundLevel({ ...misread, level: 4 }, FIRST_POLICY)).toBe(4);
    expect(soundLevel({ ...misread, verification: { verdict: 'valid', reason: '', by: 'x', at: 1 } }, FIRST_POLICY)).toBe(1);
    expect(soundLevel(alert({ match: { how: 'exact' } }), FIRST_POLICY)).toBe(1);
  });

  it('are not made for deeds of people, for what is shelved, false or taken back', () => {
    const shelf = { reason: '', until: 9, by: 'x' };
    const verification = { verdict: 'false' as const, reason: '', by: 'x', at: 1 };
    expect(isHeard(alert())).toBe(true);
    expect(isHeard(alert({ change: 'updated' }))).toBe(true);
    for (const fields of [{ change: 'verified' }, { change: 'unshelved' }, { state: 'retracted' }, { shelf }, { verification }] as Partial<Alert>[])
      expect(isHeard(alert(fields))).toBe(false);
  });
});

describe('places in the address', () => {
  it('are read as they were written', () => {
    const hash = hashOf('vehicles', '吉A/1%', 1);
    expect(readHash(hash)).toEqual({ page: 'vehicles', parts: ['吉A/1%', '1'] });
  });

  it.each(['', '#', '#/', '#/nowhere/1', '#live', '%%%', '#/%E0%A4%A'])('%s is the live picture', (hash) => {
    expect(readHash(hash).page).toBe('live');
  });

  it('open by any of their rights', () => {
    const none = () => false;
    expect(pagesOf(none)).toEqual(['live', 'findings']);
    expect(mayOpen('devices', (action) => action === 'tend_quarantine')).toBe(true);
    expect(mayOpen('tracks', (action) => action === 'read_registry')).toBe(false);
  });
});

describe('the list of findings', () => {
  const all = { kind: '', level: '', state: '', verification: '', plate: '', shelved: '' };

  it('takes newer revisions and what came since, but nothing older than the page', () => {
    const listed = [alert({ id: 'b', raised_at: 20 }), alert({ id: 'a', raised_at: 10 })];
    const known = new Map([
      ['a', alert({ id: 'a', raised_at: 30, revision: 2, state: 'retracted' })],
      ['c', alert({ id: 'c', raised_at: 25 })],
      ['old', alert({ id: 'old', raised_at: 5 })],
      ['other', alert({ id: 'other', raised_at: 26, kind: 'ban' })],
    ]);
    const shown = renewed(listed, known, (one) => one.kind === 'watch_hit', false);
    expect(shown.map((one) => [one.id, one.revision])).toEqual([['a', 2], ['c', 1], ['b', 1]]);
    expect(renewed([], known, (one) => one.id === 'old', true).map((one) => one.id)).toEqual(['old']);
  });

  it('filters by what people said of them', () => {
    const open = alert({ needs_verification: true });
    const judged = alert({ verification: { verdict: 'false', reason: 'misread', by: 'x', at: 1 } });
    expect(isVerified(open, 'open')).toBe(true);
    expect(isVerified({ ...open, state: 'retracted' }, 'open')).toBe(false);
    expect(isVerified(judged, 'open')).toBe(false);
    expect(isVerified(judged, 'false')).toBe(true);
    expect(passesFilter(judged, { ...all, verification: 'valid' })).toBe(false);
    const shelved = alert({ shelf: { reason: '', until: 9, by: 'x' } });
    expect(passesFilter(shelved, all)).toBe(false);
    expect(passesFilter(shelved, { ...all, shelved: 'only' })).toBe(true);
    expect(passesFilter(alert(), { ...all, shelved: 'only' })).toBe(false);
  });
});

describe('a week of hours', () => {
  it('past midnight belongs to the next morning', () => {
    const week = weekOf({ hours: [['22:00', '05:30']], weekdays: [5] });
    expect(week[4]?.slice(21)).toEqual([0, 1, 1]);
    expect(week[5]?.slice(0, 7)).toEqual([1, 1, 1, 1, 1, 0.5, 0]);
    expect(week.flat().reduce((sum, share) => sum + share, 0)).toBe(7.5);
  });

  it('without hours is whole, and half typed hours cover nothing', () => {
    expect(weekOf({}).flat().every((share) => share === 1)).toBe(true);
    expect(weekOf({ hours: [['2', '05:00']] }).flat().some((share) => share > 0)).toBe(false);
    expect(minuteOf('24:00')).toBe(1440);
    expect(minuteOf('24:01')).toBeNaN();
  });

  it('is painted by dragging and cleared by painting what is covered', () => {
    const once = painted([], 6, 8);
    expect(once).toEqual([['06:00', '09:00']]);
    expect(painted(once, 23, 22)).toEqual([['06:00', '09:00'], ['22:00', '24:00']]);
    expect(painted(once, 7, 7)).toEqual([]);
  });
});

describe('days', () => {
  const now = Date.parse('2026-11-24T17:00:00Z'); // already the 25th in Beijing

  it('are counted in Beijing', () => {
    expect(daysLeft('2026-11-25', now)).toBe(0);
    expect(daysLeft('2026-11-24', now)).toBe(-1);
    expect(daysLeft(null, now)).toBeNull();
    expect(daysLeft('soon', now)).toBeNull();
    expect(dayAfter('2026-12-31', 1)).toBe('2027-01-01');
    expect(withOffset('2026-11-25T08:00')).toBe('2026-11-25T08:00:00+08:00');
  });

  it('without a finding stand in the chart, too', () => {
    expect(everyDay([{ day: '2026-02-28', count: 3 }], '2026-02-27', '2026-03-01').map((one) => one.count)).toEqual([0, 3, 0]);
    expect(usOf('2026-01-01T00:00:00Z')).toBe(1_767_225_600_000_000);
    expect(usOf('never')).toBeNull();
  });
});

describe('what differs', () => {
  it('is told leaf by leaf, order of names left aside', () => {
    const before = { level: 2, parameters: { a: 1, b: { x: 1, y: 2 } }, scope: {} };
    const after = { scope: { kinds: ['bus'] }, parameters: { b: { y: 2, x: 1 }, a: 3 }, level: 2 };
    expect(differences(before, after)).toEqual([
      { key: 'parameters.a', before: 1, after: 3 },
      { key: 'scope.kinds', before: undefined, after: ['bus'] },
    ]);
    expect(differences(null, null)).toEqual([]);
  });
});

describe('stories on the map', () => {
  const gates = new Map([[1, { lon: 125, lat: 43 }], [2, { lon: 126, lat: 44 }]]);
  const gate = (id: number) => gates.get(id) as Checkpoint | undefined;
  const seen = (record: string, checkpoint: number, place: object = {}) =>
    ({ record, at: 1, checkpoint, direction: 1, lane: 1, speed_kmh: null, ...place });

  it('put one spot on a place with all its numbers, and leave out what has no place', () => {
    const story = findingStory([seen('a', 1), seen('x', 99), seen('b', 0, { lon: 127, lat: 45 }), seen('c', 1)], null, gate);
    expect(story.spots.map((spot) => [spot.id, spot.label, spot.tone])).toEqual([['c', '1·4', 'last'], ['b', '3', 'seen']]);
    expect(story.ways).toEqual([{ path: [[125, 43], [127, 45], [125, 43]], tone: 'usual' }]);
  });

  it('follow the road where the server knows it', () => {
    const line: GeoJSON.Feature = { type: 'Feature', properties: { kind: 'road' }, geometry: { type: 'LineString', coordinates: [[125, 43], [126, 44]] } };
    const story = findingStory([seen('a', 1), seen('b', 2)], { type: 'FeatureCollection', features: [line] }, gate);
    expect(story.ways.map((way) => way.tone)).toEqual(['road']);
  });

  it('number a track from its oldest point', () => {
    const points = [seen('new', 2), seen('old', 1)].map((point) => ({ ...point, images: [] }));
    expect(trackStory(points, gate).spots.map((spot) => [spot.id, spot.label])).toEqual([['old', '1'], ['new', '2']]);
  });

  it('size places of a dry run by their count', () => {
    const result = { fired: 3, by_day: [], by_checkpoint: [{ checkpoint: 1, count: 2 }, { checkpoint: 9, count: 1 }], by_unit: [], vehicles: [], samples: [], records: 9 };
    expect(dryRunStory(result, gate).spots).toMatchObject([{ id: '1', label: '2', size: 1 }]);
  });

  it('draw a circle of the right size', () => {
    for (const corner of circle([125, 43.5], 1000)) expect(metresBetween([125, 43.5], corner)).toBeCloseTo(1000, -1);
  });
});

import { describe, expect, it } from 'vitest';
import { alertRings, ALERT_ON_MAP_S, checkpointDots, fitting, middle, toneOf } from '../src/map/features';
import { shield, unknownDot } from '../src/map/images';
import { layers } from '../src/map/style';
import type { Alert, Area, Checkpoint, Flow } from '../src/lib/types';

const gate = { id: 7, lon: 125, lat: 43, limit_kmh: 100, name: '卡口', name_en: 'Gate' } as Checkpoint;
const flow = (per_minute: number | null, speed_kmh: number | null): Flow => ({
  id: 7, flow: [], per_minute, speed_kmh, seen_at: null, state: per_minute === null ? 'unknown' : per_minute ? 'live' : 'quiet',
});

describe('the tone of a checkpoint', () => {
  it.each([
    [undefined, 'unknown'],
    [flow(null, null), 'unknown'],
    [flow(0, null), 'quiet'],
    [flow(5, null), 'unmeasured'],
    [flow(5, 70), 'free'],
    [flow(5, 69), 'slow'],
    [flow(5, 39), 'jam'],
  ])('%o is %s', (seen, tone) => expect(toneOf(gate, seen)).toBe(tone));
});

it('an unknown checkpoint carries no number, a quiet one a zero', () => {
  const area = { checkpoints: [gate, { ...gate, id: 8 }] } as unknown as Area;
  const dots = checkpointDots(area, (id) => (id === 8 ? flow(0, null) : undefined));
  expect(dots.features.map((dot) => [dot.properties.tone, dot.properties.label])).toEqual([['unknown', ''], ['quiet', '0']]);
});

it('of several alerts at a checkpoint the gravest standing one is ringed, old ones are not', () => {
  const now = 1e13;
  const one = (id: string, level: number, more: Partial<Alert> = {}) =>
    ({ id, level, state: 'active', observed_at: now, observations: [{ checkpoint: 7 }], ...more }) as unknown as Alert;
  const rings = alertRings(
    [one('a', 3), one('b', 2), one('c', 1, { state: 'retracted' }), one('d', 1, { observed_at: now - (ALERT_ON_MAP_S + 1) * 1e6 })],
    () => gate,
    now,
  );
  expect(rings.features.map((ring) => ring.properties.id)).toEqual(['b']);
});

it('a name stands in the middle of the largest part', () => {
  const square = (x: number, size: number): [number, number][][] => [
    [[x, 0], [x + size, 0], [x + size, size], [x, size], [x, 0]],
  ];
  expect(middle({ type: 'MultiPolygon', coordinates: [square(0, 1), square(10, 4)] })).toEqual([12, 2]);
});

it('bounds of a single point are widened', () => {
  const [west, south, east, north] = fitting([125, 43, 125, 43]);
  expect(east > west && north > south).toBe(true);
});

it('pictures are as large as they say and not empty', () => {
  for (const picture of [unknownDot(6).picture, shield([1, 2, 3], [4, 5, 6]).picture]) {
    expect(picture.data).toHaveLength(picture.width * picture.height * 4);
    expect(picture.data.some((value) => value > 0)).toBe(true);
  }
});

it('layers ask for no glyphs, sprites or tiles, and have one name each', () => {
  const all = layers('zh', 1);
  expect(new Set(all.map((layer) => layer.id)).size).toBe(all.length);
  expect(JSON.stringify(all)).not.toContain('http');
});

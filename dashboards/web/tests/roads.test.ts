import { describe, expect, it } from 'vitest';
import { along, boxOf, cut, RoadLines, stakesAlong, type LinkFeature } from '../src/lib/geometry';
import { lanesNow } from '../src/lib/lanes';
import { shortUnit, withoutCommonStart } from '../src/lib/names';
import { sorted, trendOf, type Standing } from '../src/lib/standings';
import { aligned, valueAgo, WEEK_S } from '../src/lib/trends';
import type { Alert, LinkFacts, RoadEvent, SensorRow, Trend } from '../src/lib/types';
import { whatIsWrong } from '../src/lib/wrong';
import { eventShapes, levelMarks, weatherTone, worstOf } from '../src/map/roads';
import { roadLayers } from '../src/map/roadstyle';
import { apart, scaleOf, ticks } from '../src/map/strip';
import { toneOfIndex } from '../src/map/tints';

function link(id: number, direction: number, from: number, to: number): LinkFeature {
  const [west, east] = [125 + from / 1e5, 125 + to / 1e5];
  return {
    type: 'Feature',
    id,
    geometry: { type: 'LineString', coordinates: [[west, 43], [(west + east) / 2, 43], [east, 43]] },
    properties: { id, road: 1, direction, from_stake_m: from, to_stake_m: to, length_m: Math.abs(to - from), lanes: 2, limit_kmh: 100, unit_id: 1 } as LinkFacts,
  };
}
const ROAD = [link(1, 1, 0, 10_000), link(2, 1, 10_000, 20_000), link(3, 2, 10_000, 0), link(4, 2, 20_000, 10_000)];
const LINES = new RoadLines(ROAD);

describe('places on a road', () => {
  it('a share of a line is where it should be, ends included', () => {
    const line = ROAD[0]!.geometry.coordinates as [number, number][];
    for (const [share, lon] of [[-1, 125], [0, 125], [0.25, 125.025], [1, 125.1], [2, 125.1]] as const) expect(along(line, share).at[0]).toBeCloseTo(lon, 6);
    expect(along(line, 0.25).bearing).toBeCloseTo(90, 3);
    expect(cut(line, 0.25, 0.75)).toHaveLength(3);
  });

  it('a stake has a point in its direction, and none outside', () => {
    expect(LINES.pointAt(1, 15_000, 1)).toMatchObject({ link: 2 });
    expect(LINES.pointAt(1, 15_000, 2)).toMatchObject({ link: 4 });
    expect(LINES.pointAt(1, 25_000)).toBeNull();
    expect(LINES.pointAt(2, 5_000)).toBeNull();
  });

  it('what lies between two stakes is cut out of each link, in whichever order they are told', () => {
    for (const [a, b] of [[8_000, 12_000], [12_000, 8_000]] as const) {
      const found = LINES.between(1, 2, a, b);
      expect(found.map((one) => one.line.length)).toEqual([2, 2]);
      expect(Math.max(...found.flatMap((one) => one.line.map(([lon]) => lon)))).toBeCloseTo(125.12, 6);
    }
    expect(LINES.between(1, 0, 0, 20_000)).toHaveLength(4);
    expect(LINES.between(1, 1, 30_000, 40_000)).toEqual([]);
  });

  it('stakes are written once, though both directions have them', () => {
    expect(stakesAlong(ROAD, 10_000).map((one) => one.stake_m).sort((a, b) => a - b)).toEqual([0, 10_000, 20_000]);
    expect(boxOf([])).toBeNull();
  });
});

it('an event is drawn from tail to head with a sign at its head, an ended one fades', () => {
  const event = { id: 'e', kind: 'congestion', level: 2, state: 'ended', road: 1, direction: 1, head_stake_m: 12_000, tail_stake_m: 8_000 } as RoadEvent;
  const { features } = eventShapes([event, { ...event, id: 'far', road: 9 }], LINES, () => false);
  expect(features.map((one) => one.geometry.type)).toEqual(['LineString', 'LineString', 'Point']);
  expect(features.every((one) => one.properties?.['ended'])).toBe(true);
});

it('an unknown link gets no number, a blocked one does', () => {
  expect(levelMarks(ROAD, (id) => (id === 1 ? 5 : id === 2 ? 3 : 0), 4).features.map((one) => one.properties.mark)).toEqual(['5']);
});

it('of an index of which too little is known no area is tinted', () => {
  expect([toneOfIndex(null, 1), toneOfIndex(3, 0.2), toneOfIndex(0, 1), toneOfIndex(4.1, 1), toneOfIndex(10, 1)]).toEqual([0, 0, 1, 3, 5]);
});

it('layers of both languages have different names, and unknown lies below all levels', () => {
  for (const language of ['zh', 'en'] as const) {
    const { below, above } = roadLayers(language, 1);
    const ids = [...below, ...above].map((one) => (one as { id: string }).id);
    expect(new Set(ids).size).toBe(ids.length);
    expect(ids.indexOf('link-unknown')).toBeLessThan(ids.indexOf('link-1'));
  }
});

describe('what is wrong now', () => {
  const NOW = 1e13;
  const event = (id: string, level: number, agoS: number, more: Partial<RoadEvent> = {}) =>
    ({ id, kind: 'congestion', level, state: 'open', started_at: NOW - agoS * 1e6, ...more }) as RoadEvent;
  const sensor = (id: number, state: string) => ({ kind: 'detector', id, road: 'G1', state, since: NOW }) as SensorRow;
  const alert = (id: string, level: number, agoS: number) => ({ id, level, state: 'active', observed_at: NOW - agoS * 1e6 }) as Alert;

  it('stands with stopped parts first, then gravest and newest', () => {
    const list = whatIsWrong({
      parts: [{ part: 'monitor', since: NOW }],
      events: [event('b', 2, 10), event('a', 2, 5), event('gone', 1, 1, { state: 'ended' })],
      sensors: [sensor(1, 'failed'), sensor(1, 'silent'), sensor(2, 'suspect')],
      alerts: [alert('x', 1, 60), alert('old', 1, 9_999), alert('small', 3, 1)],
      nowUs: NOW,
    });
    expect(list.map((one) => one.key)).toEqual(['part:monitor', 'x', 'a', 'b', 'sensors:G1']);
  });

  it('events of sensors stand for the list of sensors until that is there', () => {
    const events = [event('s', 3, 1, { kind: 'sensor' })];
    expect(whatIsWrong({ parts: [], events, sensors: null, alerts: [], nowUs: NOW })).toHaveLength(1);
    expect(whatIsWrong({ parts: [], events, sensors: [], alerts: [], nowUs: NOW })).toEqual([]);
  });
});

it('units stand worst first, the unknown last, and an arrow needs something to compare with', () => {
  const row = (id: number, index: number | null, before: number | null) =>
    ({ unit: { id }, index: index === null ? null : { index }, before, events_open: {}, alerts: 0 }) as unknown as Standing;
  expect(sorted([row(1, null, null), row(2, 0.5, null), row(3, 7, null)]).map((one) => one.unit.id)).toEqual([3, 2, 1]);
  expect([row(1, 2, 1), row(1, 1, 2), row(1, 2, 2.1), row(1, 2, null), row(1, null, 2)].map(trendOf)).toEqual(['up', 'down', 'flat', 'none', 'none']);
});

it('a lane that says nothing for 90 s is not fresh, whatever it said', () => {
  const story = { health: [], lanes: [{ lane: 1, series: [[1_000_000, 5, 8, 90, 0]] }, { lane: 2, series: [] }] };
  expect(lanesNow(story, 31_000_000).map((one) => [one.fresh, one.flow_vph, one.state])).toEqual([[true, 600, 'ok'], [false, null, 'unknown']]);
  expect(lanesNow(story, 200_000_000)[0]).toMatchObject({ fresh: false, state: 'unknown' });
  expect(worstOf(['ok', 'suspect', 'failed'])).toBe('failed');
});

it('a series stands beside the week before, with gaps where one has nothing', () => {
  const trend = { bucket_s: 60, series: [[600e6, 1], [720e6, 3]], before: [[(660 - WEEK_S) * 1e6, 2]] } as Trend;
  expect(aligned(trend)).toEqual({ times: [600, 660, 720], now: [1, null, 3], before: [null, 2, null] });
  expect(valueAgo(trend, 720, 120)).toBe(1);
  expect(valueAgo(trend, 9_000, 0)).toBeNull();
});

it('labels of a strip are pushed apart, and where there is no room the lightest give way', () => {
  const items = [10, 11, 12, 13].map((y, number) => ({ item: { weight: number }, y }));
  const placed = apart(items, 10, 0, 100, 50);
  expect(placed.map((one) => one.at)).toEqual([10, 20, 30, 40]);
  const crowd = apart(items, 10, 0, 25, 50);
  expect(crowd.map((one) => one.item.weight)).toEqual([2, 3]);
  const scale = scaleOf(0, 100_000, 0, 500);
  expect(scale.y(100_000)).toBe(0);
  expect(ticks(scale, 40)).toEqual([0, 10_000, 20_000, 30_000, 40_000, 50_000, 60_000, 70_000, 80_000, 90_000, 100_000]);
});

it('ice is graver than snow, and snow than rain', () => {
  const report = { visibility_m: null, precipitation: null, surface: null } as never as Parameters<typeof weatherTone>[0];
  expect([weatherTone({ ...report, surface: 'ice' }), weatherTone({ ...report, precipitation: 'snow' }), weatherTone({ ...report, precipitation: 'rain' })]).toEqual(['grave', 'bad', 'fair']);
});

it('names leave out what their superior says', () => {
  const names = { 长春市公安局交通警察支队: '长春支队', 吉林省公安厅高速公路交通警察支队: '高速公路支队', 长春市公安局交通警察支队南关区大队: '南关区大队', 高速公路长春大队京哈高速中队: '京哈高速中队', 东丰县公安局交通警察大队: '东丰县大队' };
  for (const [name, short] of Object.entries(names)) expect(shortUnit({ name })).toBe(short);
  expect(withoutCommonStart(['Changchun G1', 'Changchun G12'])).toEqual(['G1', 'G12']);
  expect(withoutCommonStart(['Siping', 'Jilin City'])).toEqual(['Siping', 'Jilin City']);
});

/** Lines and stakes: points along a link, parts of a road, boxes. Pure; degrees in, degrees out. */
import type { Bounds, LinkFacts } from './types';

export type Point = [lon: number, lat: number];
export type LinkFeature = GeoJSON.Feature<GeoJSON.LineString, LinkFacts>;

const RADIAN = Math.PI / 180;

/** Length in degrees of latitude; good enough to share out a stretch of some kilometres. */
function step(a: Point, b: Point): number {
  return Math.hypot((b[0] - a[0]) * Math.cos(((a[1] + b[1]) / 2) * RADIAN), b[1] - a[1]);
}

/** The point at a share 0..1 of a line, and the bearing there in degrees. */
export function along(line: Point[], share: number): { at: Point; bearing: number } {
  const parts = cut(line, 0, Math.min(1, Math.max(0, share)));
  const at = parts.at(-1) ?? line[0] ?? [0, 0];
  const wanted = share >= 1 ? [line.at(-2), line.at(-1)] : bracket(line, at);
  const [a, b] = wanted;
  if (!a || !b) return { at, bearing: 0 };
  const bearing = Math.atan2((b[0] - a[0]) * Math.cos(a[1] * RADIAN), b[1] - a[1]) / RADIAN;
  return { at, bearing: (bearing + 360) % 360 };
}

function bracket(line: Point[], at: Point): [Point | undefined, Point | undefined] {
  let travelled = 0;
  const reached = step(line[0] ?? at, at);
  for (let i = 1; i < line.length; i++) {
    const [a, b] = [line[i - 1] as Point, line[i] as Point];
    travelled += step(a, b);
    const between = step(a, at) + step(at, b) - step(a, b);
    if (between < 1e-9 || (i === line.length - 1 && travelled >= reached)) return [a, b];
  }
  return [line.at(-2), line.at(-1)];
}

/** The part of a line between two shares of its length (0..1, in its order); at least two points, unless it has none. */
export function cut(line: Point[], from: number, to: number): Point[] {
  const lengths = line.slice(1).map((point, i) => step(line[i] as Point, point));
  const whole = lengths.reduce((sum, length) => sum + length, 0);
  if (line.length < 2 || whole === 0) return line.slice();
  const [begin, end] = [Math.max(0, from) * whole, Math.min(1, to) * whole];
  const part: Point[] = [];
  let travelled = 0;
  for (let i = 1; i < line.length; i++) {
    const length = lengths[i - 1] ?? 0;
    const [a, b] = [line[i - 1] as Point, line[i] as Point];
    const at = (distance: number): Point => {
      const share = length === 0 ? 0 : (distance - travelled) / length;
      return [a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share];
    };
    if (part.length === 0 && begin <= travelled + length) part.push(at(begin));
    if (end <= travelled + length) {
      part.push(at(end));
      return part;
    }
    if (part.length > 0) part.push(b);
    travelled += length;
  }
  return part;
}

/** How far along a link a stake lies, 0..1; null where it lies outside. */
export function shareAt(link: LinkFacts, stake_m: number): number | null {
  const whole = link.to_stake_m - link.from_stake_m;
  if (whole === 0) return null;
  const share = (stake_m - link.from_stake_m) / whole;
  return share < 0 || share > 1 ? null : share;
}

/** Links by road, so that stakes are found without looking at the whole province. */
export class RoadLines {
  private readonly byRoad = new Map<number, LinkFeature[]>();

  constructor(links: Iterable<LinkFeature>) {
    for (const link of links) {
      const list = this.byRoad.get(link.properties.road);
      if (list) list.push(link);
      else this.byRoad.set(link.properties.road, [link]);
    }
  }

  of(road: number): readonly LinkFeature[] {
    return this.byRoad.get(road) ?? [];
  }

  /** The point of a stake; direction 0 takes either. Null where no link of the area has it. */
  pointAt(road: number, stake_m: number, direction = 0): { at: Point; bearing: number; link: number } | null {
    for (const link of this.of(road)) {
      if (direction !== 0 && link.properties.direction !== direction) continue;
      const share = shareAt(link.properties, stake_m);
      if (share !== null) return { ...along(link.geometry.coordinates as Point[], share), link: link.properties.id };
    }
    return null;
  }

  /** What lies between two stakes, piece by piece in the direction of travel; direction 0: both sides. */
  between(road: number, direction: number, a_m: number, b_m: number): { line: Point[]; direction: number }[] {
    const [low, high] = [Math.min(a_m, b_m), Math.max(a_m, b_m)];
    return this.of(road).flatMap((link) => {
      const { from_stake_m: from, to_stake_m: to, direction: own } = link.properties;
      if (direction !== 0 && own !== direction) return [];
      const [bottom, top] = [Math.min(from, to), Math.max(from, to)];
      if (top <= low || bottom >= high || top === bottom) return [];
      const shares = [Math.max(low, bottom), Math.min(high, top)].map((stake) => (stake - from) / (to - from));
      const [begin, end] = [Math.min(...shares), Math.max(...shares)];
      return [{ line: cut(link.geometry.coordinates as Point[], begin, end), direction: own }];
    });
  }
}

/** The box around points; null where there are none. */
export function boxOf(points: Iterable<readonly [number, number] | number[]>): Bounds | null {
  let box: Bounds | null = null;
  for (const [lon = NaN, lat = NaN] of points) {
    if (!Number.isFinite(lon) || !Number.isFinite(lat)) continue;
    box = box === null
      ? [lon, lat, lon, lat]
      : [Math.min(box[0], lon), Math.min(box[1], lat), Math.max(box[2], lon), Math.max(box[3], lat)];
  }
  return box;
}

/** Stakes to write on the map, each `every` metres, at direction 1 (or whatever direction there is). */
export function stakesAlong(links: readonly LinkFeature[], every: number): { stake_m: number; at: Point }[] {
  const found = new Map<number, Point>();
  for (const link of links) {
    const { from_stake_m: from, to_stake_m: to, direction } = link.properties;
    const [low, high] = [Math.min(from, to), Math.max(from, to)];
    for (let stake = Math.ceil(low / every) * every; stake <= high; stake += every) {
      if (found.has(stake) && direction !== 1) continue;
      const share = shareAt(link.properties, stake);
      if (share !== null) found.set(stake, along(link.geometry.coordinates as Point[], share).at);
    }
  }
  return [...found].map(([stake_m, at]) => ({ stake_m, at }));
}

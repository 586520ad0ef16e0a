/** What is asked for over HTTP and stands beside the live picture: sensors, weather, works, how the units below stand. */
import { roadWorks, sensors, summary, trend, weatherNow } from './api';
import { clock } from './clock.svelte';
import { focus } from './focus.svelte';
import { live } from './live.svelte';
import { picture } from './picture.svelte';
import { Polled } from './polled.svelte';
import type { AreaSummary, LaneHealth, RoadWork, SensorRow, WeatherReport } from './types';
import { worstOf } from '../map/roads';

const EVERY_MS = 30_000;
const BEFORE_S = 15 * 60;
const KEPT_S = 25 * 60;

export const sensorHealth = new Polled<{ sensors: SensorRow[]; counts: Record<string, number> }>(false);
export const weather = new Polled<WeatherReport[]>(false);
export const works = new Polled<RoadWork[]>(false);
export const area = new Polled<AreaSummary>();

/** Indices of the last quarter of an hour by unit, from the trend at first and from what came since. */
class IndexMemory {
  private points = new Map<number, { atS: number; value: number }[]>();
  version = $state(0);

  note(unit: number, atS: number, value: number): void {
    const line = (this.points.get(unit) ?? []).filter((point) => atS - point.atS < KEPT_S && point.atS !== atS);
    line.push({ atS, value });
    this.points.set(unit, line.sort((a, b) => a.atS - b.atS));
    this.version += 1;
  }

  knows(unit: number): boolean {
    return this.points.has(unit);
  }

  /** The index a quarter of an hour ago (the nearest within five minutes of it); null where not known. */
  before(unit: number): number | null {
    void this.version;
    const wanted = clock.nowMs / 1000 - BEFORE_S;
    let best: { away: number; value: number } | null = null;
    for (const { atS, value } of this.points.get(unit) ?? []) {
      const away = Math.abs(atS - wanted);
      if (away <= 300 && (best === null || away < best.away)) best = { away, value };
    }
    return best?.value ?? null;
  }

  forget(): void {
    this.points.clear();
  }
}

export const indexMemory = new IndexMemory();

async function summarized(unit: number): Promise<AreaSummary> {
  const answer = await summary(unit);
  const all = [answer, ...answer.children];
  for (const one of all) if (one.index?.index != null) indexMemory.note(one.unit.id, one.index.at / 1e6, one.index.index);
  void recall(all.map((one) => one.unit.id));
  return answer;
}

const asked = new Set<number>();

/** Fill the last quarter of an hour of units that are seen for the first time, one after another. */
async function recall(units: number[]): Promise<void> {
  for (const unit of units) {
    if (asked.has(unit)) continue;
    asked.add(unit);
    try {
      const { series } = await trend('unit', unit, 1, 'index');
      for (const [at, value] of series) if (at != null && value != null) indexMemory.note(unit, at / 1e6, value);
    } catch {
      // the arrow stays away; it appears when a quarter of an hour has passed
    }
  }
}

/** Ask for all of it as long as a screen is open; returns what stops it. */
export function followStanding(): () => void {
  asked.clear();
  indexMemory.forget();
  const stops = [
    sensorHealth.follow(sensors, EVERY_MS),
    weather.follow(weatherNow, EVERY_MS),
    works.follow(roadWorks, EVERY_MS),
  ];
  return () => stops.forEach((stop) => stop());
}

/** The area in focus; the body of an effect. */
export function followArea(): () => void {
  const unit = focus.id;
  if (unit === 0) return () => {};
  return area.follow(() => summarized(unit), EVERY_MS);
}

class Sensors {
  private byDetector = $derived.by(() => {
    const lanes = new Map<number, SensorRow[]>();
    for (const row of sensorHealth.value?.sensors ?? [])
      if (row.kind === 'detector') lanes.set(row.id, [...(lanes.get(row.id) ?? []), row]);
    return lanes;
  });

  /** The worst state of a detector's lanes; unknown before the first answer and where nobody judges sensors now. */
  health(detector: number): LaneHealth['state'] | 'unknown' {
    if (!this.known) return 'unknown';
    const lanes = this.byDetector.get(detector);
    return lanes ? worstOf(lanes.map((lane) => lane.state)) : 'ok';
  }

  lanes(detector: number): SensorRow[] {
    return this.byDetector.get(detector) ?? [];
  }

  /** Only what is not well has a row: without a cycle of the monitor the others are unknown, not well. */
  known = $derived(!live.dark && sensorHealth.value !== null && picture.cycleAt !== null && !picture.monitorStopped);

  ill = $derived((sensorHealth.value?.sensors ?? []).filter((row) => row.state !== 'ok' && focus.holds(row.unit_id)));
}

export const sensorsNow = new Sensors();

/** Places and plates in the words of the road: road, stake, direction. */
import { nameOf, named, t } from '../words/index.svelte';
import { stake } from './format';
import type { Alert, Checkpoint, Observation } from './types';

export function placeOf(checkpoint: Checkpoint | undefined, roadNames: ReadonlyMap<string, { name: string; name_en: string }>): string {
  if (checkpoint === undefined) return t('alert.outside');
  const road = roadNames.get(checkpoint.road);
  return [checkpoint.road, road ? nameOf(road) : '', stake(checkpoint.stake_m)].filter(Boolean).join(' ');
}

export function directionOf(direction: number): string {
  return named('direction.', direction);
}

/** The observation that an alert is about now: the newest. */
export function latest(alert: Alert): Observation | undefined {
  return alert.observations.at(-1);
}

/** Per cent above the limit, for section speed. */
export function overPercent(alert: Alert): number | null {
  const section = alert.section;
  if (!section || section.limit_kmh <= 0) return null;
  return Math.round((section.speed_kmh / section.limit_kmh - 1) * 100);
}

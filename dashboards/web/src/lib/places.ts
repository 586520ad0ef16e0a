/** Places and plates in the words of the road: road, stake, direction. */
import { nameOf, named, t } from '../words/index.svelte';
import { stake } from './format';
import type { Alert, Checkpoint, Observation } from './types';

export function placeOf(checkpoint: Checkpoint | undefined, roadNames: ReadonlyMap<string, { name: string; name_en: string }>): string {
  if (checkpoint === undefined) return t('alert.outside');
  const road = roadNames.get(checkpoint.road);
  return [checkpoint.road, road ? nameOf(road) : '', stake(checkpoint.stake_m)].filter(Boolean).join(' ');
}

/** Where an observation was: its checkpoint, or the stake or point that a device told. */
export function placeOfSeen(
  seen: Observation & { name?: string; name_en?: string; road?: string | null; stake_m?: number | null },
  checkpoint: Checkpoint | undefined,
  roadNames: ReadonlyMap<string, { name: string; name_en: string }>,
): string {
  if (checkpoint !== undefined) return placeOf(checkpoint, roadNames);
  if (seen.stake) return seen.stake;
  if (seen.road && typeof seen.stake_m === 'number') return `${seen.road} ${stake(seen.stake_m)}`;
  if (seen.name) return nameOf({ name: seen.name, name_en: seen.name_en });
  if (seen.checkpoint) return t('alert.outside');
  if (typeof seen.lon === 'number' && typeof seen.lat === 'number') return `${seen.lon.toFixed(4)}, ${seen.lat.toFixed(4)}`;
  return t('known.not');
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

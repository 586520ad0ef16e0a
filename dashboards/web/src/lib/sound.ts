/** When an alert may be heard: at most once per level in SOUND_EVERY_MS, the gravest first. Pure. */
import type { Alert } from './types';

export const SOUND_EVERY_MS = 10_000;

/** Whether an alert is worth a sound: not where a person has put it away, and not for the deeds of people. */
export function isHeard(alert: Alert): boolean {
  const deed = alert.change === 'verified' || alert.change === 'shelved' || alert.change === 'unshelved';
  return alert.state === 'active' && !deed && !alert.shelf && alert.verification?.verdict !== 'false';
}

export class SoundPace {
  private last = new Map<number, number>();

  /** The levels of these alerts that may sound now, gravest first; they count as sounded. */
  take(levels: Iterable<number>, nowMs: number): number[] {
    const free = [...new Set(levels)].filter((level) => nowMs - (this.last.get(level) ?? -Infinity) >= SOUND_EVERY_MS);
    for (const level of free) this.last.set(level, nowMs);
    return free.sort((a, b) => a - b);
  }
}

/** When an alert may be heard: at most so often per level, the gravest first, as the server's policy says. Pure. */
import type { Alert } from './types';

/** GET /api/alerts/policy, as far as sounds go. */
export interface AlertPolicy {
  levels: { level: number; sound: string | null; every_s_min: number }[];
  silent_changes: string[];
  unsure: { matches: string[]; sounds_as_level: number };
}

/** Until the server has said: the same bounds, and nothing silent but the deeds of people. */
export const FIRST_POLICY: AlertPolicy = {
  levels: [1, 2, 3].map((level) => ({ level, sound: 'single', every_s_min: 10 })),
  silent_changes: ['verified', 'shelved', 'unshelved'],
  unsure: { matches: ['wildcard', 'misread'], sounds_as_level: 3 },
};

/** Whether an alert is news: not where a person has put it away, and not for the deeds of people. */
export function isHeard(alert: Alert, policy: AlertPolicy = FIRST_POLICY): boolean {
  return alert.state === 'active' && !policy.silent_changes.includes(alert.change) && !alert.shelf && alert.verification?.verdict !== 'false';
}

/** The level as which it sounds: a doubtful match is not as loud as its entry, before a person has looked. */
export function soundLevel(alert: Alert, policy: AlertPolicy): number {
  const doubtful = policy.unsure.matches.includes(alert.match?.how ?? '') && alert.verification?.verdict !== 'valid';
  return doubtful ? Math.max(alert.level, policy.unsure.sounds_as_level) : alert.level;
}

export class SoundPace {
  private last = new Map<number, number>();

  /** The levels of these that may sound now, gravest first; they count as sounded. */
  take(levels: Iterable<number>, policy: AlertPolicy, nowMs: number): number[] {
    const free = [...new Set(levels)].filter((level) => {
      const rule = policy.levels.find((one) => one.level === level);
      return rule !== undefined && rule.sound !== null && nowMs - (this.last.get(level) ?? -Infinity) >= rule.every_s_min * 1000;
    });
    for (const level of free) this.last.set(level, nowMs);
    return free.sort((a, b) => a - b);
  }
}

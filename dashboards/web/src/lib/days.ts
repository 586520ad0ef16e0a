/** Days as the registry and the calendar write them ("2026-11-24"), in Beijing time. Pure. */
import { beijing } from './format';

const DAY_MS = 86_400_000;
export const SOON_DAYS = 30;

export function today(nowMs: number): string {
  return beijing(nowMs)[1];
}

/** Whole days from today until the end of a day: 0 today, negative when it is over; null where no day is known. */
export function daysLeft(day: string | null | undefined, nowMs: number): number | null {
  if (!day) return null;
  const at = Date.parse(`${day.slice(0, 10)}T00:00:00Z`);
  return Number.isNaN(at) ? null : Math.round((at - Date.parse(`${today(nowMs)}T00:00:00Z`)) / DAY_MS);
}

export function dayAfter(day: string, days: number): string {
  return new Date(Date.parse(`${day}T00:00:00Z`) + days * DAY_MS).toISOString().slice(0, 10);
}

/** What an input of type datetime-local holds, as a moment with its offset. */
export function withOffset(local: string): string {
  return `${local.length === 16 ? `${local}:00` : local}+08:00`;
}

/** A moment for an input of type datetime-local. */
export function localInput(ms: number): string {
  const [time, day] = beijing(ms);
  return `${day}T${time.slice(0, 5)}`;
}

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

/** Microseconds of a moment, however the server wrote it; null where there is none. */
export function usOf(moment: number | string | null | undefined): number | null {
  if (moment === null || moment === undefined) return null;
  if (typeof moment === 'number') return moment;
  const ms = Date.parse(moment);
  return Number.isNaN(ms) ? null : ms * 1000;
}

const DAYS_MAX = 400; // of a chart

/** Counts by day with the days between on which there was nothing. */
export function everyDay(counts: readonly { day: string; count: number }[], first: string, last: string): { day: string; count: number }[] {
  const known = new Map(counts.map((one) => [one.day, one.count]));
  const days: { day: string; count: number }[] = [];
  for (let day = first; day <= last && days.length < DAYS_MAX; day = dayAfter(day, 1)) days.push({ day, count: known.get(day) ?? 0 });
  return days;
}

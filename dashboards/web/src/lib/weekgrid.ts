/** Hours of a rule's schedule as a week of quarter hours to look at, and as pairs to edit. Pure. */
import type { Schedule } from './keytypes';

export const HOURS_OF_DAY = 24;
export const ALL_DAYS = [1, 2, 3, 4, 5, 6, 7];

/** "06:30" -> 390; NaN where it is no time of day. 24:00 is the end of the day. */
export function minuteOf(text: string): number {
  const match = /^(\d{2}):(\d{2})$/.exec(text);
  if (!match) return NaN;
  const minute = Number(match[1]) * 60 + Number(match[2]);
  return Number(match[2]) < 60 && minute <= 1440 ? minute : NaN;
}

export function timeOf(minute: number): string {
  return `${String(Math.floor(minute / 60)).padStart(2, '0')}:${String(minute % 60).padStart(2, '0')}`;
}

/** Share (0..1) of each hour of the week that the schedule covers, [day 1..7][hour]. Holidays are another matter. */
export function weekOf(schedule: Schedule): number[][] {
  const days = schedule.weekdays?.length ? schedule.weekdays : ALL_DAYS;
  const pairs = schedule.hours?.length ? schedule.hours : ([['00:00', '24:00']] as [string, string][]);
  const minutes = ALL_DAYS.map(() => new Uint8Array(1440));
  for (const day of days)
    for (const [from, to] of pairs) {
      const [begin, end] = [minuteOf(from), minuteOf(to)];
      if (Number.isNaN(begin) || Number.isNaN(end)) continue;
      if (end > begin) minutes[day - 1]?.fill(1, begin, end);
      else {
        minutes[day - 1]?.fill(1, begin);
        minutes[day % 7]?.fill(1, 0, end); // past midnight: the morning of the next day
      }
    }
  return minutes.map((day) =>
    Array.from({ length: HOURS_OF_DAY }, (_, hour) => day.subarray(hour * 60, hour * 60 + 60).reduce((sum, one) => sum + one, 0) / 60),
  );
}

/** The pairs after hours `from`..`to` (inclusive) were painted; painting what is covered takes the pair away. */
export function painted(pairs: [string, string][], from: number, to: number): [string, string][] {
  const covering = pairs.filter((pair) => covers(pair, from * 60) && covers(pair, to * 60));
  if (covering.length > 0) return pairs.filter((pair) => !covering.includes(pair));
  const [first, last] = [Math.min(from, to), Math.max(from, to) + 1];
  return [...pairs, [timeOf(first * 60), timeOf(last * 60)] as [string, string]].sort(([a], [b]) => (a < b ? -1 : 1));
}

function covers([from, to]: [string, string], minute: number): boolean {
  const [begin, end] = [minuteOf(from), minuteOf(to)];
  return end > begin ? minute >= begin && minute < end : minute >= begin || minute < end;
}

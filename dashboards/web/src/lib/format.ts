import { t } from '../words/index.svelte';

const ZONE = 'Asia/Shanghai';
const FAR_S = 48 * 3600;

const parts = new Intl.DateTimeFormat('en-CA', {
  timeZone: ZONE,
  year: 'numeric',
  month: '2-digit',
  day: '2-digit',
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
  hourCycle: 'h23',
});

/** Beijing time of day and date of a moment in milliseconds: ['03:12:05', '2026-11-24']. */
export function beijing(ms: number): [time: string, date: string] {
  const of: Record<string, string> = {};
  for (const { type, value } of parts.formatToParts(ms)) of[type] = value;
  return [`${of['hour']}:${of['minute']}:${of['second']}`, `${of['year']}-${of['month']}-${of['day']}`];
}

/** A moment (microseconds) as people read it: the time alone if it is today, else with month and day. */
export function moment(us: number, nowMs: number): string {
  const [time, date] = beijing(us / 1000);
  return date === beijing(nowMs)[1] ? time : `${date.slice(5)} ${time}`;
}

/** How long ago, in one unit where that is enough. */
export function age(seconds: number): string {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 2) return t('age.now');
  if (s < 60) return t('age.seconds', { n: s });
  if (s < 3600) return t('age.minutes', { n: Math.floor(s / 60) });
  if (s < FAR_S) return t('age.hours', { h: Math.floor(s / 3600), m: Math.floor((s % 3600) / 60) });
  return t('age.days', { n: Math.floor(s / 86_400) });
}

/** How long something takes or has lasted. */
export function span(seconds: number): string {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return t('span.seconds', { s });
  if (s < 3600 && s % 60 === 0) return t('span.whole', { m: s / 60 });
  if (s < 3600) return t('span.minutes', { m: Math.floor(s / 60), s: s % 60 });
  return t('span.hours', { h: Math.floor(s / 3600), m: Math.floor((s % 3600) / 60) });
}

/** A place on a road (桩号): 1023500 -> K1023+500. */
export function stake(metres: number): string {
  const m = Math.round(metres);
  return `K${Math.floor(m / 1000)}+${String(m % 1000).padStart(3, '0')}`;
}

/** A plate with its middle dot, as it is painted: 吉A·12345. */
export function plateText(plate: string): string {
  return /^[\u4e00-\u9fff][A-Z]/.test(plate) ? `${plate.slice(0, 2)}·${plate.slice(2)}` : plate;
}

export function whole(number: number): string {
  return Math.round(number).toLocaleString('en-US');
}

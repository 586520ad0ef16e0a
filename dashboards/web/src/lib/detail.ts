/** What a finding rests on, as lines for people: numbers with their units in words, the deciding ones first. */
import { nameOf, named, t, type Word } from '../words/index.svelte';
import { zh } from '../words/zh';
import { beijing, plateText, span, whole } from './format';
import { live } from './live.svelte';
import { overPercent } from './places';
import type { Alert } from './types';
import { timeOf } from './weekgrid';

export interface Fact {
  key: string;
  label: string;
  text: string;
}

export interface Share {
  label: string;
  share: number; // 0..1
}

const FACTS_MAX = 40;
const TEXT_MAX = 200;
const HIDDEN = new Set(['explanations', 'version', 'rule', 'reads', 'bit', 'fence']);
const GATES = new Set(['checkpoint', 'expected_at', 'from_checkpoint', 'to_checkpoint']); // numbers of checkpoints

/** Which figures decide, by kind; what is not named follows in the order of the finding. */
const DECIDING: Record<string, string[]> = {
  cloned_plate: ['probability', 'gap_s', 'fastest_s', 'distance_m'],
  driving_time: ['driven_min', 'driven_limit_min', 'exceeded', 'rest_min'],
  night_running: ['hours', 'seen_for_min', 'sightings'],
  overspeed: ['speed_kmh', 'limit_kmh', 'over_percent'],
  overdue_arrival: ['overdue_s', 'expected_at', 'allowed_s'],
  long_stop: ['stood_min', 'for_min'],
  geofence: ['name', 'fence_kind', 'inside_s', 'dwell_s'],
  registry_state: ['condition', 'overdue_days', 'until', 'state'],
  ban: ['vehicle_kind', 'hours', 'permits_asked', 'holidays'],
  route_deviation: ['reason', 'off_s', 'margin_m'],
  device_alarm: ['alarm', 'lasted_s'],
  position_mismatch: ['explanation', 'probability', 'away_km', 'silent_min'],
};

/** The finding's own object: its key is the kind. */
export function detailOf(alert: Alert): Record<string, unknown> {
  const detail = (alert as unknown as Record<string, unknown>)[alert.kind];
  return typeof detail === 'object' && detail !== null && !Array.isArray(detail) ? (detail as Record<string, unknown>) : {};
}

export function factsOf(detail: Record<string, unknown>, first: string[] = []): Fact[] {
  const keys = [...first.filter((key) => key in detail), ...Object.keys(detail).filter((key) => !first.includes(key))];
  return keys
    .filter((key) => !HIDDEN.has(key) && !isEmpty(detail[key]) && !isUnlimited(key, detail[key]))
    .slice(0, FACTS_MAX)
    .map((key) => ({ key, label: factLabel(key), text: shortened(factText(key, detail[key])) }));
}

/** All that the finding says, the deciding figures first. */
export function factsOfAlert(alert: Alert): Fact[] {
  return factsOf(detailOf(alert), DECIDING[alert.kind] ?? []);
}

/** The few figures that a card has room for. */
export function gist(alert: Alert): Fact[] {
  const detail = detailOf(alert);
  const deciding = (DECIDING[alert.kind] ?? []).filter((key) => !isEmpty(detail[key]));
  const plain = Object.keys(detail).filter((key) => !deciding.includes(key) && typeof detail[key] !== 'object');
  return factsOf(detail, [...deciding, ...plain]).slice(0, 3);
}

/** The same in one line, also of hits and sections. */
export function gistLine(alert: Alert): string {
  const { entry, section } = alert;
  if (entry) return [named('category.', entry.category), entry.intercept ? t('alert.intercept') : t('alert.report'), entry.facts].join(' · ');
  if (section) {
    const over = overPercent(alert);
    return [`${Math.round(section.speed_kmh)} km/h`, over === null ? '' : t('alert.over', { n: over }), t('alert.limit', { n: section.limit_kmh })].filter(Boolean).join(' · ');
  }
  return gist(alert).map((fact) => `${fact.label} ${fact.text}`).join(' · ');
}

/** What it may be, with probabilities; empty where the rule states none. */
export function explanationsOf(alert: Alert): Share[] {
  const detail = detailOf(alert);
  const told = detail['explanations'];
  if (Array.isArray(told))
    return told.flatMap((one: Record<string, unknown>) => {
      const share = Number(one['probability'] ?? one['share']);
      const what = String(one['explanation'] ?? one['what'] ?? one['kind'] ?? one['name'] ?? '');
      return Number.isFinite(share) ? [{ label: named('explained.', what, { what }), share }] : [];
    });
  if (typeof told === 'object' && told !== null)
    return Object.entries(told).flatMap(([what, share]) =>
      typeof share === 'number' ? [{ label: named('explained.', what, { what }), share }] : [],
    );
  const share = detail['probability'];
  if (typeof share !== 'number') return [];
  return [
    { label: named('kind.', alert.kind), share },
    { label: t('explained.rest'), share: 1 - share },
  ];
}

export function factLabel(key: string): string {
  return named('fact.', key, { key }) || key;
}

export function factText(key: string, value: unknown): string {
  if (value === null || value === undefined) return t('known.not');
  if (typeof value === 'boolean') return value ? t('fact.yes') : t('fact.no');
  if (typeof value === 'number') return numberText(key, value);
  if (key === 'hours' && Array.isArray(value)) return value.map((pair) => (Array.isArray(pair) ? pair.join('–') : String(pair))).join(t('list.and'));
  if (Array.isArray(value)) return value.map((one) => factText(key, one)).join(t('list.and'));
  if (typeof value === 'object')
    return Object.entries(value as Record<string, unknown>)
      .filter(([name]) => !HIDDEN.has(name))
      .map(([name, one]) => `${factLabel(name)} ${factText(name, one)}`)
      .join(' · ');
  if (key === 'reason') return reasonText(coded(String(value)));
  if (key === 'plate') return plateText(String(value));
  return coded(String(value), key);
}

function numberText(key: string, value: number): string {
  if (GATES.has(key)) return gateName(value);
  if (key === 'from_min' || key === 'to_min') return timeOf(value);
  if (key === 'weekdays') return named('weekday.', value);
  if (/(_at|_us|^as_of)$/.test(key) || key === 'at' || key === 'until') {
    const [time, day] = beijing(value / 1000);
    return `${day.slice(5)} ${time}`;
  }
  if (/(probability|share|trust|confidence)$/.test(key)) return `${Math.round(value * 100)}%`;
  if (/_min$/.test(key)) return value < 0 ? `−${span(-value * 60)}` : span(value * 60);
  if (/_s$/.test(key)) return value < 0 ? `−${span(-value)}` : span(value);
  if (/_m$/.test(key)) return Math.abs(value) >= 10_000 ? `${(value / 1000).toFixed(1)} km` : `${whole(value)} m`;
  if (/_km$/.test(key)) return `${rounded(value)} km`;
  if (/_kmh$/.test(key)) return `${rounded(value)} km/h`;
  if (/_h$/.test(key)) return t('span.hours', { h: Math.floor(value), m: Math.round((value % 1) * 60) });
  if (/_days$|^days$/.test(key)) return t('fact.n.days', { n: Math.round(value) });
  if (/_percent$/.test(key)) return `${rounded(value)}%`;
  return rounded(value);
}

function rounded(value: number): string {
  return Math.abs(value) >= 1000 && Number.isInteger(value) ? whole(value) : String(Math.round(value * 10) / 10);
}

/** A code out of a closed list in words, whichever list it is of. */
function coded(code: string, key = ''): string {
  if (key === 'state' && `vehiclestate.${code}` in zh) return named('vehiclestate.', code);
  for (const prefix of ['condition.', 'vehiclekind.', 'vehiclestate.', 'routekind.', 'explained.', 'cause.', 'alarmbit.', 'fencekind.', 'permitkind.', 'holidays.', 'exceeded.', 'deviation.', 'match.', 'verdict.', 'findingstate.'])
    if (`${prefix}${code}` in zh) return t(`${prefix}${code}` as Word);
  return code;
}

/** A verdict's reason: a code, a code with a note ("misread: 7 taken for 1"), or a person's own words. */
export function reasonText(reason: string): string {
  const [code = '', ...note] = reason.split(/:\s*/);
  if (!(`falsereason.${code}` in zh)) return reason;
  return [named('falsereason.', code), note.join(': ')].filter(Boolean).join('：');
}

/** What limits nothing is not worth a line. */
function isUnlimited(key: string, value: unknown): boolean {
  return (key === 'holidays' && value === 'any') || (key === 'weekdays' && Array.isArray(value) && value.length === 7) || value === null;
}

function gateName(id: number): string {
  const gate = live.checkpoint(id);
  return gate ? nameOf(gate) : t('alert.outside');
}

function isEmpty(value: unknown): boolean {
  return value === undefined || value === '' || (Array.isArray(value) && value.length === 0);
}

function shortened(text: string): string {
  return text.length > TEXT_MAX ? `${text.slice(0, TEXT_MAX)}…` : text;
}

/** What an event rests on, as lines for people: known fields in words, the others as they are. */
import { named, t, type Word } from '../words/index.svelte';
import { zh } from '../words/zh';

export interface GroundLine {
  label: string;
  text: string;
}

const UNITS: [ending: string, unit: string][] = [
  ['_kmh', 'km/h'],
  ['_vph', 'veh/h'],
  ['_m_min', 'm/min'],
  ['_m', 'm'],
  ['_s', 's'],
  ['_km', 'km'],
  ['_c', '°C'],
  ['_ms', 'm/s'],
  ['_mm_h', 'mm/h'],
];
const LINES_MAX = 24;
const TEXT_MAX = 160;

function valueText(key: string, value: unknown): string {
  if (value === null) return t('known.not');
  if (typeof value === 'number') {
    const unit = UNITS.find(([ending]) => key.endsWith(ending))?.[1] ?? '';
    const shown = Math.abs(value) >= 100 ? Math.round(value).toLocaleString('en-US') : String(Math.round(value * 100) / 100);
    return unit === '' ? shown : `${shown} ${unit}`;
  }
  if (typeof value === 'boolean') return value ? '✓' : '✗';
  if (Array.isArray(value)) return value.map((one) => valueText(key, one)).join(t('list.and'));
  if (typeof value === 'object')
    return Object.entries(value as Record<string, unknown>).map(([name, one]) => `${labelOf(name)} ${valueText(name, one)}`).join(' · ');
  return word(String(value));
}

/** A code out of a closed list in words, whichever list it is of. */
function word(code: string): string {
  for (const prefix of ['method.', 'sensor.', 'surface.', 'precipitation.', 'workstate.'])
    if (`${prefix}${code}` in zh) return t(`${prefix}${code}` as Word);
  return code;
}

function labelOf(key: string): string {
  return named('ground.', key, { key }) || key;
}

export function groundLines(grounds: Record<string, unknown>): GroundLine[] {
  return Object.entries(grounds)
    .filter(([, value]) => value !== '' && !(Array.isArray(value) && value.length === 0))
    .slice(0, LINES_MAX)
    .map(([key, value]) => {
      const text = valueText(key, value);
      return { label: labelOf(key), text: text.length > TEXT_MAX ? `${text.slice(0, TEXT_MAX)}…` : text };
    });
}

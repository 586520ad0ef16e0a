/** Weather, roads and stretches in words. */
import { nameOf, named, t } from '../words/index.svelte';
import { stake } from './format';
import type { RoadFacts, WeatherReport } from './types';

/** The gist of a report in a few words: what is worst on it first. */
export function weatherWords(report: WeatherReport): string {
  const said: string[] = [];
  if (report.visibility_m !== null && report.visibility_m < 500) said.push(t('weather.sight', { n: report.visibility_m }));
  if (report.surface && report.surface !== 'dry') said.push(named('surface.', report.surface));
  if (report.precipitation && report.precipitation !== 'none') said.push(named('precipitation.', report.precipitation));
  if (report.wind_ms !== null && report.wind_ms >= 10.8) said.push(t('weather.wind', { n: Math.round(report.wind_ms) }));
  if (said.length === 0 && report.temperature_c !== null) said.push(`${report.temperature_c.toFixed(0)} °C`);
  return said.slice(0, 3).join(' ') || t('weather.fair');
}

/** Road, stake and direction as they are spoken: G1 K1023+500 → 上行. */
export function placeWords(road: RoadFacts | undefined, stakes: [number, number?], direction: number): string {
  const [from, to] = stakes;
  const where = to === undefined || Math.abs(to - from) < 50 ? stake(from) : `${stake(from)}–${stake(to)}`;
  return [road?.code ?? '', where, direction === 0 ? '' : named('direction.short.', direction)].filter(Boolean).join(' ');
}

export function roadWords(road: RoadFacts | undefined): string {
  return road ? `${road.code} ${nameOf(road)}` : '';
}

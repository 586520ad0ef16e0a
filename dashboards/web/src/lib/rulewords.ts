/** What a rule says, as lines for people, and a draft of it to edit. */
import { named, nameOf, t } from '../words/index.svelte';
import { differences } from './changes';
import { factText } from './detail';
import { focus } from './focus.svelte';
import { span, stake } from './format';
import type { Exemptions, Fence, ParameterSchema, Rule, RuleDraft, RuleKind, RuleVersion, Schedule, Scope } from './keytypes';
import { live } from './live.svelte';

export interface Line {
  label: string;
  text: string;
}

const COMPARED = ['name', 'clause', 'level', 'unit', 'lateness_s', 'parameters', 'scope', 'schedule', 'exemptions', 'state'] as const;
const NAMES_SHOWN = 12;

export function draftOf(rule: RuleDraft): RuleDraft {
  const { kind, name, clause, level, lateness_s } = rule;
  const copy = <T>(value: T): T => JSON.parse(JSON.stringify(value ?? {})) as T;
  return {
    kind, name, clause, level, unit: rule.unit ?? null, lateness_s,
    parameters: copy(rule.parameters), scope: copy(rule.scope), schedule: copy(rule.schedule), exemptions: copy(rule.exemptions),
  };
}

/** A draft of a kind with the defaults of its parameters. */
export function freshDraft(kind: RuleKind, unit: number | null): RuleDraft {
  return {
    kind: kind.kind, name: '', clause: '', level: null, unit: kind.scoped === false ? null : unit, lateness_s: kind.lateness_s ?? 900,
    parameters: Object.fromEntries(kind.parameters.map((one) => [one.name, one.default])),
    scope: {}, schedule: {}, exemptions: {},
  };
}

export function parameterLabel(name: string): string {
  const label = named('param.', name, { name });
  return label === name ? named('fact.', name, { key: name }) : label;
}

export function parameterText(name: string, value: unknown, schema: ParameterSchema | undefined): string {
  const seconds = schema?.unit === 'min' ? 60 : schema?.unit === 's' ? 1 : 0;
  if (typeof value === 'number' && value * seconds >= 3600) return `${value} ${unitText(schema?.unit ?? '')} · ${span(value * seconds)}`;
  if (typeof value === 'number' && schema?.unit) return `${value} ${unitText(schema.unit)}`;
  if (typeof value === 'object' && value !== null && !Array.isArray(value))
    return Object.entries(value as Record<string, unknown>).map(([key, one]) => `${key} ${parameterText(key, one, undefined)}`).join(' · ');
  return factText(name, value);
}

export function unitText(unit: string): string {
  return named('unitof.', unit, { unit });
}

export function unitName(id: number): string {
  const unit = focus.nodes.get(id);
  return unit ? nameOf(unit) : `#${id}`;
}

export function checkpointName(id: number): string {
  const gate = live.checkpoint(id);
  return gate ? nameOf(gate) : `#${id}`;
}

function some(names: string[]): string {
  return names.length > NAMES_SHOWN ? t('scope.some', { names: names.slice(0, NAMES_SHOWN).join(t('list.and')), n: names.length }) : names.join(t('list.and'));
}

export function scopeLines(scope: Scope, fences: readonly Fence[]): Line[] {
  const lines: Line[] = [];
  const add = (key: string, names: string[] | undefined) => {
    if (names?.length) lines.push({ label: named('fact.', key), text: some(names) });
  };
  add('units', scope.units?.map(unitName));
  add('roads', scope.roads?.map(roadText));
  add('road_kinds', scope.road_kinds?.map((kind) => named('roadkind.', kind)));
  add('checkpoints', scope.checkpoints?.map(checkpointName));
  add('fences', scope.fences?.map((id) => fences.find((fence) => fence.id === id)?.name ?? `#${id}`));
  add('kinds', scope.kinds?.map((kind) => named('vehiclekind.', kind)));
  add('class_groups', scope.class_groups?.map((group) => named('class.', group)));
  add('vehicle_classes', scope.vehicle_classes);
  add('plates_like', scope.plates_like);
  return lines;
}

export function roadText(one: NonNullable<Scope['roads']>[number]): string {
  const between = typeof one.from_stake_m === 'number' || typeof one.to_stake_m === 'number';
  const stakes = between ? `${stake(one.from_stake_m ?? 0)}–${typeof one.to_stake_m === 'number' ? stake(one.to_stake_m) : '…'}` : '';
  return [one.road, stakes, one.direction ? named('direction.short.', one.direction) : ''].filter(Boolean).join(' ');
}

export function scheduleLines(schedule: Schedule): Line[] {
  const lines: Line[] = [];
  if (schedule.hours?.length) lines.push({ label: t('fact.hours'), text: schedule.hours.map(([from, to]) => `${from}–${to}`).join(t('list.and')) });
  if (schedule.weekdays?.length && schedule.weekdays.length < 7)
    lines.push({ label: t('fact.weekdays'), text: schedule.weekdays.map((day) => named('weekday.', day)).join(t('list.and')) });
  if (schedule.holidays && schedule.holidays !== 'any') lines.push({ label: t('fact.holidays'), text: named('holidays.', schedule.holidays) });
  if (schedule.from || schedule.to) lines.push({ label: t('schedule.days'), text: `${schedule.from ?? '…'} – ${schedule.to ?? '…'}` });
  return lines;
}

export function exemptionLines(exemptions: Exemptions): Line[] {
  const lines: Line[] = [];
  const add = (key: string, names: string[] | undefined) => {
    if (names?.length) lines.push({ label: named('fact.', key), text: some(names) });
  };
  add('permits', exemptions.permits?.map((kind) => named('permitkind.', kind)));
  add('kinds', exemptions.kinds?.map((kind) => named('vehiclekind.', kind)));
  add('route_kinds', exemptions.route_kinds?.map((kind) => named('routekind.', kind)));
  if (typeof exemptions.route_km_max === 'number') lines.push({ label: t('fact.route_km_max'), text: `${exemptions.route_km_max} km` });
  add('plates', exemptions.plates);
  return lines;
}

export interface ChangedLine {
  label: string;
  before: string | null;
  after: string | null;
}

/** What one version changed against another, in words. */
export function changedLines(before: Rule | RuleVersion | RuleDraft, after: Rule | RuleVersion | RuleDraft): ChangedLine[] {
  const only = (rule: object) => Object.fromEntries(COMPARED.map((key) => [key, (rule as Record<string, unknown>)[key] ?? null]));
  return differences(only(before), only(after)).map(({ key, before: was, after: is }) => ({
    label: pathLabel(key),
    before: was === undefined || was === null ? null : valueText(key, was),
    after: is === undefined || is === null ? null : valueText(key, is),
  }));
}

function pathLabel(path: string): string {
  const [part, leaf] = path.split('.');
  if (leaf === undefined) return named('rulepart.', part ?? path);
  return part === 'parameters' ? parameterLabel(leaf) : named('fact.', leaf, { key: leaf });
}

function valueText(path: string, value: unknown): string {
  const [part, leaf = ''] = path.split('.');
  if (part === 'state') return named('rulestate.', String(value));
  if (part === 'unit' && typeof value === 'number') return unitName(value);
  const lines: Line[] =
    part === 'scope' && leaf ? scopeLines({ [leaf]: value } as Scope, []) : part === 'exemptions' && leaf ? exemptionLines({ [leaf]: value } as Exemptions) : part === 'schedule' && leaf ? scheduleLines({ [leaf]: value } as Schedule) : [];
  return lines[0]?.text ?? factText(leaf || (part ?? ''), value);
}

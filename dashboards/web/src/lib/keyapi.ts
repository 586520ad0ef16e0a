/** The addresses of key-vehicle control as functions; failures as in api.ts. */
import { call } from './api';
import type { PageOf } from './paged.svelte';
import type {
  Company, CompanyFile, DeviceFile, DeviceRow, DryRun, Explanation, Fence, Holiday, ImportState, KeyVehicle, PlatformRow, Rule, RuleDraft, RuleFile,
  RuleKind, Subscription, TerminalFile, TerminalMessage, TerminalRow, TrackPoint, VehicleFile,
} from './keytypes';
import type { Alert } from './types';

type Values = Record<string, string | number | boolean | null | undefined>;

/** A query of what is given; empty values are left out. */
export function query(values: Values): string {
  const given = Object.entries(values).filter(([, value]) => value !== null && value !== undefined && value !== '' && value !== false);
  const text = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
  return text === '' ? '' : `?${text}`;
}

const part = (text: string | number) => encodeURIComponent(text);

async function page<T>(path: string, list: string, values: Values): Promise<PageOf<T>> {
  const answer = await call<Record<string, unknown>>('GET', path + query(values));
  const next = answer['next'];
  return { rows: (answer[list] ?? []) as T[], next: next === null || next === undefined ? null : String(next) };
}

// ---------------------------------------------------------------- findings

export interface FindingFilter {
  kind: string;
  level: string;
  state: string;
  verification: string;
  plate: string;
  shelved: string; // '': not those that were put aside; 'only', 'all'
}

export interface FindingPage extends PageOf<Alert> {
  shelved: number; // put aside now, whether they are listed or not
}

export async function findings(filter: FindingFilter, before: string | null): Promise<FindingPage> {
  const answer = await call<{ findings: Alert[]; next: string | null; shelved?: number }>('GET', `/api/findings${query({ ...filter, before, limit: 50 })}`);
  return { rows: answer.findings, next: answer.next, shelved: answer.shelved ?? 0 };
}

export function explanation(id: string): Promise<Explanation> {
  return call('GET', `/api/findings/${part(id)}`);
}

export function verify(id: string, verdict: 'valid' | 'false', reason: string): Promise<unknown> {
  return call('POST', `/api/findings/${part(id)}/verify`, { verdict, reason });
}

export function shelve(id: string, reason: string, until: string): Promise<unknown> {
  return call('POST', `/api/findings/${part(id)}/shelve`, { reason, until });
}

export function unshelve(id: string): Promise<unknown> {
  return call('POST', `/api/findings/${part(id)}/unshelve`, {});
}

// ---------------------------------------------------------------- registry

export interface VehicleFilter {
  q: string;
  kind: string;
  state: string;
  due: string;
  company: string;
}

export function vehicles(filter: VehicleFilter, before: string | null): Promise<PageOf<KeyVehicle>> {
  return page('/api/registry/vehicles', 'vehicles', { ...filter, before, limit: 50 });
}

export function vehicleFile(plate: string, group: number): Promise<VehicleFile> {
  return call('GET', `/api/registry/vehicles/${part(plate)}${query({ class_group: group })}`);
}

export function refreshVehicle(plate: string, group: number): Promise<VehicleFile> {
  return call('POST', `/api/registry/vehicles/${part(plate)}/refresh${query({ class_group: group })}`, {});
}

export function companies(q: string, before: string | null): Promise<PageOf<Company>> {
  return page('/api/registry/companies', 'companies', { q, before });
}

export function companyFile(id: string): Promise<CompanyFile> {
  return call('GET', `/api/registry/companies/${part(id)}`);
}

export const IMPORTS = ['vehicles', 'companies', 'permits', 'drivers'] as const;
export type ImportWhat = (typeof IMPORTS)[number];

export async function startImport(what: ImportWhat, file: File): Promise<{ id: string }> {
  return call('POST', `/api/registry/import/${what}`, file);
}

export function importState(id: string): Promise<ImportState> {
  return call('GET', `/api/registry/import/${part(id)}`);
}

// ---------------------------------------------------------------- rules

export async function rules(): Promise<Rule[]> {
  return (await call<{ rules: Rule[] }>('GET', '/api/rules')).rules;
}

export async function ruleKinds(): Promise<RuleKind[]> {
  return (await call<{ kinds: RuleKind[] }>('GET', '/api/rules/kinds')).kinds;
}

export function ruleFile(id: number): Promise<RuleFile> {
  return call('GET', `/api/rules/${id}`);
}

export function makeRule(draft: RuleDraft & { note: string }): Promise<Rule> {
  return call('POST', '/api/rules', draft);
}

export function changeRule(id: number, draft: RuleDraft & { note: string; based_on: number }): Promise<Rule> {
  return call('PUT', `/api/rules/${id}`, draft);
}

export function switchRule(id: number, to: 'arm' | 'off', note: string, based_on: number): Promise<Rule> {
  return call('POST', `/api/rules/${id}/${to}`, { note, based_on });
}

export function startDryRun(rule: RuleDraft & { id?: number }, days: number): Promise<{ id: string }> {
  return call('POST', '/api/dry-runs', { rule, days });
}

export function dryRun(id: string): Promise<DryRun> {
  return call('GET', `/api/dry-runs/${part(id)}`);
}

export async function cancelDryRun(id: string): Promise<void> {
  await call('DELETE', `/api/dry-runs/${part(id)}`);
}

export async function fences(): Promise<Fence[]> {
  return (await call<{ fences: Fence[] }>('GET', '/api/fences')).fences;
}

export type FenceDraft = Pick<Fence, 'code' | 'name' | 'kind' | 'shape' | 'enabled'> & { based_on?: number | null };

export function saveFence(id: number | null, fence: FenceDraft): Promise<Fence> {
  return id === null ? call('POST', '/api/fences', fence) : call('PUT', `/api/fences/${id}`, fence);
}

export interface HolidayCalendar {
  holidays: Holiday[];
  version: number;
}

export function holidays(): Promise<HolidayCalendar> {
  return call('GET', '/api/holidays');
}

export function saveHolidays(days: Holiday[], based_on: number): Promise<HolidayCalendar> {
  return call('PUT', '/api/holidays', { holidays: days, based_on });
}

// ---------------------------------------------------------------- look-ups

export interface Span {
  from: string; // RFC 3339 with offset
  to: string;
}

export interface Why {
  purpose?: string;
  finding?: string;
}

export interface LookedUp extends PageOf<TrackPoint> {
  purpose: string;
}

async function lookUp(path: string, list: string, values: Values): Promise<LookedUp> {
  const answer = await call<Record<string, unknown>>('GET', path + query(values));
  const next = answer['next'];
  return {
    rows: (answer[list] ?? []) as TrackPoint[],
    next: typeof next === 'string' ? next : null,
    purpose: String(answer['purpose'] ?? ''),
  };
}

export function track(plate: string, group: number, span: Span, why: Why, beyond: boolean, before: string | null): Promise<LookedUp> {
  return lookUp('/api/tracks', 'points', { plate, class_group: group, ...span, ...why, beyond, before, limit: 200 });
}

export function passagesOf(checkpoint: number, span: Span, why: Why, beyond: boolean, before: string | null): Promise<LookedUp> {
  return lookUp(`/api/checkpoints/${checkpoint}/passages`, 'passages', { ...span, ...why, beyond, before, limit: 200 });
}

// ---------------------------------------------------------------- devices

export function devices(filter: { kind: string; state: string; q: string }, before: string | null): Promise<PageOf<DeviceRow>> {
  return page('/api/devices', 'devices', { ...filter, before });
}

export function deviceFile(id: number): Promise<DeviceFile> {
  return call('GET', `/api/devices/${id}`);
}

export function terminals(q: string, before: string | null): Promise<PageOf<TerminalRow>> {
  return page('/api/terminals', 'terminals', { q, before });
}

export function terminalFile(id: number): Promise<TerminalFile> {
  return call('GET', `/api/terminals/${id}`);
}

export function textTerminal(id: number, text: string, urgent: boolean, tts: boolean): Promise<TerminalMessage> {
  return call('POST', `/api/terminals/${id}/messages`, { text, urgent, tts });
}

export function terminalMessage(id: number | string): Promise<TerminalMessage> {
  return call('GET', `/api/terminal-messages/${part(id)}`);
}

export async function platforms(): Promise<PlatformRow[]> {
  return (await call<{ platforms: PlatformRow[] }>('GET', '/api/platforms')).platforms;
}

export function platformMessages(code: string, before: string | null): Promise<PageOf<TerminalMessage>> {
  return page(`/api/platforms/${part(code)}/messages`, 'messages', { before });
}

export function platformMessage(id: number | string): Promise<TerminalMessage> {
  return call('GET', `/api/platform-messages/${part(id)}`);
}

export function messagePlatform(code: string, message: Record<string, unknown>): Promise<TerminalMessage> {
  return call('POST', `/api/platforms/${part(code)}/messages`, message);
}

export async function subscriptions(): Promise<Subscription[]> {
  return (await call<{ subscriptions: Subscription[] }>('GET', '/api/subscriptions')).subscriptions;
}

export async function endSubscription(id: string): Promise<void> {
  await call('DELETE', `/api/subscriptions/${part(id)}`);
}

/** The HTTP API as functions. Every failure is an ApiError with the server's code, or `network` where none answered. */
import { named, t, type Word } from '../words/index.svelte';
import { zh } from '../words/zh';
import type { AlertPolicy } from './sound';
import { SessionEnded, type Ticket } from './protocol';
import { stretchesOf, withRoadIds, type RawArea } from './roadids';
import type {
  Alert, Area, AreaSummary, DetectorStory, EventStory, Found, LinkStory, Me, PlaceAnswer, RoadWork, SensorRow, Trend,
  UnitNode, WeatherReport,
} from './types';

const TIMEOUT_MS = 15_000;
const UPLOAD_TIMEOUT_MS = 300_000; // a registry of a province is a large file
const LOCKED_S = 60; // how long to wait where the server doesn't say

export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly field?: string,
    readonly retryAfterS = LOCKED_S,
    readonly reason?: string,
  ) {
    super(message);
  }

  /** What a person is told, in their language where the code is known. */
  get said(): string {
    const key = `error.${this.code}`;
    return key in zh ? t(key as Word, { s: this.retryAfterS, field: this.field ?? '', message: this.message }) : named('error.', 'other', { message: this.message });
  }
}

/** What went wrong, as a sentence for a person. */
export function said(error: unknown): string {
  return error instanceof ApiError ? error.said : t('error.other', { message: String(error) });
}

/** One request; a File goes as it is, anything else as JSON. */
export async function call<T>(method: string, path: string, body?: unknown): Promise<T> {
  let response: Response;
  let content: unknown;
  try {
    response = await fetch(path, {
      method,
      credentials: 'same-origin',
      signal: AbortSignal.timeout(body instanceof File ? UPLOAD_TIMEOUT_MS : TIMEOUT_MS),
      ...sent(body),
    });
    content = await response.json().catch((error: unknown) => {
      if (response.ok) throw error; // cut off on its way: what is missing must not look like nothing
      return null;
    });
  } catch (error) {
    throw new ApiError(0, 'network', String(error));
  }
  if (response.ok) return content as T;
  const told = (content as { error?: { code?: string; message?: string; field?: string; reason?: string } } | null)?.error;
  const code = told?.code ?? (response.status >= 500 ? 'unavailable' : 'other');
  const wait = Number(response.headers.get('Retry-After')) || undefined;
  throw new ApiError(response.status, code, told?.message ?? `HTTP ${response.status}`, told?.field, wait, told?.reason);
}

function sent(body: unknown): RequestInit {
  if (body === undefined) return {};
  if (body instanceof File) return { headers: { 'Content-Type': 'text/csv' }, body };
  return { headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) };
}

/** Who is logged in, or null. */
export async function whoAmI(): Promise<Me | null> {
  try {
    return meOf(await call<Me | { me: Me }>('GET', '/api/me'));
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) return null;
    throw error;
  }
}

export async function logIn(login: string, password: string): Promise<Me> {
  return meOf(await call<Me | { me: Me }>('POST', '/api/login', { login, password }));
}

function meOf(answer: Me | { me: Me }): Me {
  return 'me' in answer ? answer.me : answer;
}

export async function logOut(): Promise<void> {
  await call('POST', '/api/logout', {});
}

export async function socketTicket(): Promise<Ticket> {
  try {
    return await call<Ticket>('POST', '/api/socket-ticket', {});
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) throw new SessionEnded();
    throw error;
  }
}

export async function area(): Promise<Area> {
  return withRoadIds(await call<RawArea>('GET', '/api/map'));
}

export async function units(): Promise<UnitNode[]> {
  return (await call<{ units: UnitNode[] }>('GET', '/api/units')).units;
}

export async function summary(unit: number): Promise<AreaSummary> {
  return call('GET', `/api/units/${unit}/summary`);
}

export async function linkStory(id: number): Promise<LinkStory> {
  return call('GET', `/api/links/${id}`);
}

export async function eventStory(id: string): Promise<EventStory> {
  return call('GET', `/api/events/${encodeURIComponent(id)}`);
}

export async function sensors(): Promise<{ sensors: SensorRow[]; counts: Record<string, number> }> {
  return call('GET', '/api/sensors');
}

export async function detectorStory(id: number): Promise<DetectorStory> {
  return call('GET', `/api/detectors/${id}`);
}

export async function trend(scope: 'province' | 'unit', id: number, hours: number, metric: string): Promise<Trend> {
  return call('GET', `/api/trend?${new URLSearchParams({ scope, id: String(id), hours: String(hours), metric })}`);
}

export async function placeOfPoint(lon: number, lat: number): Promise<PlaceAnswer> {
  return call('GET', `/api/place?lon=${lon.toFixed(6)}&lat=${lat.toFixed(6)}`);
}

export async function search(text: string): Promise<Found[]> {
  return (await call<{ results: Found[] }>('GET', `/api/search?${new URLSearchParams({ q: text })}`)).results;
}

export async function weatherNow(): Promise<WeatherReport[]> {
  return stretchesOf((await call<{ reports: WeatherReport[] }>('GET', '/api/weather')).reports);
}

export async function roadWorks(): Promise<RoadWork[]> {
  return stretchesOf((await call<{ works: RoadWork[] }>('GET', '/api/road-works')).works);
}

/** A page of older alerts, newest first; `next` is where the following page begins, null at the end. */
export interface AlertPage {
  findings: Alert[];
  next: string | null;
}

/** Where the page after this alert begins. */
export function placeAfter(alert: Alert): string {
  return `${alert.raised_at}.${alert.id}`;
}

export async function alertsBefore(place: string | null, limit: number): Promise<AlertPage> {
  const query = new URLSearchParams({ limit: String(limit), ...(place === null ? {} : { before: place }) });
  return call('GET', `/api/findings?${query}`);
}

/** How loud alerts may be. */
export async function alertPolicy(): Promise<AlertPolicy> {
  return call('GET', '/api/alerts/policy');
}

export interface Story {
  finding: Alert;
  revisions: { revision: number; change: string; raised_at: number }[];
  checkpoints: { id: number; name: string; name_en?: string; road?: string; stake_m?: number }[];
}

/** An alert with its revisions and the names of its checkpoints, also those outside the viewer's area. */
export async function alertStory(id: string): Promise<Story> {
  return call('GET', `/api/findings/${encodeURIComponent(id)}`);
}

export interface Refusal {
  id: number;
  received_at: number;
  door: number;
  device_code: string | null;
  device_name: string | null;
  position: number;
  field: string;
  reason: string;
  detail: string;
  body: string;
}

export interface RefusalPage {
  records: Refusal[];
  next: number | null;
}

export async function refusals(before: number | null): Promise<RefusalPage> {
  return call('GET', before === null ? '/api/quarantine' : `/api/quarantine?before=${before}`);
}

export async function retryRefusal(id: number, record: object): Promise<void> {
  await call('POST', `/api/quarantine/${id}/retry`, record);
}

export async function dismissRefusal(id: number): Promise<void> {
  await call('POST', `/api/quarantine/${id}/dismiss`, {});
}

/** The HTTP API as functions. Every failure is an ApiError with the server's code, or `network` where none answered. */
import { named, t, type Word } from '../words/index.svelte';
import { zh } from '../words/zh';
import { SessionEnded, type Ticket } from './protocol';
import type { Alert, Area, Me } from './types';

const TIMEOUT_MS = 15_000;

export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly field?: string,
  ) {
    super(message);
  }

  /** What a person is told, in their language where the code is known. */
  get said(): string {
    const key = `error.${this.code}`;
    return key in zh ? t(key as Word) : named('error.', 'other', { message: this.message });
  }
}

/** What went wrong, as a sentence for a person. */
export function said(error: unknown): string {
  return error instanceof ApiError ? error.said : t('error.other', { message: String(error) });
}

async function call<T>(method: string, path: string, body?: unknown): Promise<T> {
  let response: Response;
  let content: unknown;
  try {
    response = await fetch(path, {
      method,
      credentials: 'same-origin',
      signal: AbortSignal.timeout(TIMEOUT_MS),
      ...(body === undefined
        ? {}
        : { headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) }),
    });
    content = await response.json().catch(() => null);
  } catch (error) {
    throw new ApiError(0, 'network', String(error));
  }
  if (response.ok) return content as T;
  const told = (content as { error?: { code?: string; message?: string; field?: string } } | null)?.error;
  const code = told?.code ?? (response.status >= 500 ? 'unavailable' : 'other');
  throw new ApiError(response.status, code, told?.message ?? `HTTP ${response.status}`, told?.field);
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
    if (error instanceof ApiError && (error.status === 401 || error.status === 403)) throw new SessionEnded();
    throw error;
  }
}

export async function area(): Promise<Area> {
  return call('GET', '/api/map');
}

/** Alerts raised before that moment (microseconds), newest first. */
export async function alertsBefore(raised_at: number, limit: number): Promise<Alert[]> {
  const query = new URLSearchParams({ before: String(raised_at), limit: String(limit) });
  return (await call<{ findings: Alert[] }>('GET', `/api/findings?${query}`)).findings;
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
  device: string | null;
  position: number;
  field: string;
  reason: string;
  detail: string;
  body: string;
}

export async function refusals(): Promise<Refusal[]> {
  return (await call<{ quarantine: Refusal[] }>('GET', '/api/quarantine')).quarantine;
}

export async function retryRefusal(id: number, record: object): Promise<void> {
  await call('POST', `/api/quarantine/${id}/retry`, record);
}

export async function dismissRefusal(id: number): Promise<void> {
  await call('POST', `/api/quarantine/${id}/dismiss`, {});
}

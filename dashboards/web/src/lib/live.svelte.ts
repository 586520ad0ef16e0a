/** What the screens know now: one store, fed by the protocol client, read by the components. */
import { untrack } from 'svelte';
import { alertPolicy, alertsBefore, area, placeAfter, socketTicket } from './api';
import { clock } from './clock.svelte';
import { isHeard } from './sound';
import { sounds } from './sounds.svelte';
import { LiveClient, type Link, type News, type Socket } from './protocol';
import type { Alert, Area, Bounds, Checkpoint, Figures, Flow, InstanceTime, Me, StoppedPart } from './types';

export const UNKNOWN_AFTER_S = 90; // beyond it nothing on the screen may look like knowledge
const ALERTS_KEPT_MAX = 2_000; // the oldest go; they can be loaded again
const OLDER_PAGE = 100;
const NEW_FOR_MS = 60_000;
const NOTED_MAX = 500;

interface Stale {
  age_s: number;
  parts: StoppedPart[];
  heardMs: number; // monotonic
}

class Live {
  me = $state.raw<Me | null>(null);
  /** Whether this is the live picture, and how fast its time runs. */
  time = $state.raw<InstanceTime>({ purpose: 'live', rate: 1 });
  ended = $state<'no' | 'session' | 'refused'>('no');

  link = $state<Link>('connecting');
  private lostMs = $state<number | null>(null); // monotonic, of the first loss
  lostAtMs = $state<number | null>(null); // wall clock of the same
  private heardMs = $state<number | null>(null);
  stale = $state.raw<Stale | null>(null);

  area = $state.raw<Area | null>(null);
  areaError = $state.raw<unknown>(null);
  private checkpoints = new Map<number, Checkpoint>();

  private flows = new Map<number, Flow>();
  flowVersion = $state(0);

  figures = $state.raw<Figures | null>(null);
  private figuresMs = $state(0); // monotonic
  alerts = $state.raw<ReadonlyMap<string, Alert>>(new Map());
  alertsKnown = $state(false); // a snapshot came since log-in
  newSince = $state.raw<ReadonlyMap<string, number>>(new Map()); // id -> monotonic ms of arrival
  newest = $state.raw<Alert | null>(null); // what is spoken to a screen reader
  noOlder = $state(false);
  private olderFrom: string | null = null;
  noted = $state.raw<ReadonlySet<string>>(new Set());

  selectedAlert = $state<string | null>(null);

  private client: LiveClient | null = null;
  /** Who holds the picture of the roads hears of it here; null: forget all. */
  tellRoads: (news: Extract<News, { kind: 'links' | 'events' | 'units' }> | null) => void = () => {};

  /** Seconds since the facts on the screen were last known to be right; null before the first ones. */
  ageS = $derived.by<number | null>(() => {
    if (this.heardMs === null) return null;
    const heard = Math.max(0, clock.tickMs - this.heardMs) / 1000;
    // the monitor's silence greys the roads alone (picture.svelte.ts): passages and alerts go on without it
    if (this.stale === null || this.stale.parts.every((part) => part.part === 'monitor')) return heard;
    return Math.max(heard, this.stale.age_s + Math.max(0, clock.tickMs - this.stale.heardMs) / 1000);
  });

  /** Age of the newest passage anywhere in the area; null where unknown. */
  lagS = $derived.by<number | null>(() => {
    const lag = this.figures?.lag_s ?? null;
    return lag === null || this.dark ? null : lag + Math.max(0, clock.tickMs - this.figuresMs) / 1000;
  });

  /** Too old to be shown as knowledge: everything is grey. */
  dark = $derived(this.ageS === null || this.ageS > UNKNOWN_AFTER_S);
  stopped = $derived(this.stale !== null && this.stale.parts.length > 0);
  /** Only the roads stand still; all else goes on. */
  onlyRoadsStopped = $derived(this.stopped && (this.stale?.parts.every((part) => part.part === 'monitor') ?? false));
  lostForS = $derived(this.lostMs === null ? 0 : Math.max(0, clock.tickMs - this.lostMs) / 1000);

  /** A person is there: load the map and connect. Returns what undoes it. */
  open(me: Me): () => void {
    this.forget();
    this.me = me;
    this.noted = rememberedNoted(me.login);
    const client = new LiveClient({
      ticket: socketTicket,
      connect: (url) => new WebSocket(url) as unknown as Socket,
      tell: (news) => this.take(news),
    });
    this.client = client;
    const retry = () => client.retryNow();
    window.addEventListener('online', retry);
    void this.loadArea();
    void alertPolicy().then((policy) => sounds.obey(policy), () => undefined); // else the bounds that are built in
    client.start();
    return () => {
      window.removeEventListener('online', retry);
      client.close();
    };
  }

  async loadArea(): Promise<void> {
    this.areaError = null;
    try {
      const loaded = await area();
      this.checkpoints = new Map(loaded.checkpoints.map((checkpoint) => [checkpoint.id, checkpoint]));
      this.area = loaded;
    } catch (error) {
      this.areaError = error;
    }
  }

  retryNow(): void {
    this.client?.retryNow();
  }

  look(bounds: Bounds): void {
    this.client?.look(bounds);
  }

  checkpoint(id: number): Checkpoint | undefined {
    return this.checkpoints.get(id);
  }

  /** The flow of a checkpoint; undefined where nothing may be said. */
  flow(id: number): Flow | undefined {
    void this.flowVersion;
    const flow = this.dark ? undefined : this.flows.get(id);
    return flow?.state === 'unknown' ? undefined : flow;
  }

  /** When a vehicle was last seen there (microseconds), also when the present is unknown. */
  seenAt(id: number): number | null {
    void this.flowVersion;
    return this.flows.get(id)?.seen_at ?? null;
  }

  isNew(id: string): boolean {
    const since = this.newSince.get(id);
    return since !== undefined && clock.tickMs - since < NEW_FOR_MS;
  }

  note(alert: Alert): void {
    const noted = [...this.noted, alert.id].slice(-NOTED_MAX);
    this.noted = new Set(noted);
    if (this.me) rememberNoted(this.me.login, noted);
  }

  /** Add the page of alerts before the oldest that is here. */
  async loadOlder(): Promise<void> {
    const page = await alertsBefore(this.olderFrom ?? this.oldest(), OLDER_PAGE);
    this.olderFrom = page.next;
    this.noOlder = page.next === null;
    const merged = new Map(this.alerts);
    for (const alert of page.findings) if (!merged.has(alert.id)) merged.set(alert.id, alert);
    this.alerts = merged;
  }

  private oldest(): string | null {
    const raised = [...this.alerts.values()].sort((a, b) => a.raised_at - b.raised_at || (a.id < b.id ? -1 : 1))[0];
    return raised ? placeAfter(raised) : null;
  }

  private forget(): void {
    this.ended = 'no';
    this.link = 'connecting';
    this.lostMs = this.lostAtMs = this.heardMs = null;
    this.stale = null;
    this.area = null;
    this.areaError = null;
    this.checkpoints = new Map();
    this.flows = new Map();
    this.figures = null;
    this.alerts = new Map();
    this.newSince = new Map();
    this.newest = null;
    this.alertsKnown = this.noOlder = false;
    this.olderFrom = null;
    this.selectedAlert = null;
    this.tellRoads(null);
  }

  private take(news: News): void {
    switch (news.kind) {
      case 'link':
        return this.linked(news.link);
      case 'user':
        this.me = news.user;
        this.time = news.time;
        this.stale = null; // a new connection says anew what has stopped
        return;
      case 'heard':
        this.heardMs = performance.now();
        clock.heard(news.at);
        return;
      case 'stale':
        this.stale = news.parts.length === 0 ? null : { ...news, heardMs: performance.now() };
        return;
      case 'roads':
        if (news.whole) this.flows = new Map();
        for (const flow of news.checkpoints) this.flows.set(flow.id, flow);
        this.flowVersion += 1;
        return;
      case 'figures':
        this.figures = news.figures;
        this.figuresMs = performance.now();
        return;
      case 'links':
      case 'events':
      case 'units':
        return this.tellRoads(news);
      case 'alerts':
        return this.alerted(news.alerts, news.whole);
      case 'ended':
        this.ended = news.refused ? 'refused' : 'session';
    }
  }

  private linked(link: Link): void {
    if (link === 'live') this.lostMs = this.lostAtMs = null;
    else if (link === 'lost' && this.lostMs === null) {
      this.lostMs = performance.now();
      this.lostAtMs = clock.exactMs();
    }
    this.link = link;
  }

  private alerted(alerts: Alert[], whole: boolean): void {
    const before = untrack(() => this.alerts);
    const news = alerts.filter((alert) => (before.get(alert.id)?.revision ?? 0) < alert.revision);
    const merged = whole ? new Map<string, Alert>() : new Map(before);
    for (const alert of alerts) merged.set(alert.id, alert);
    if (merged.size > ALERTS_KEPT_MAX) {
      const kept = [...merged.values()].sort((a, b) => b.observed_at - a.observed_at).slice(0, ALERTS_KEPT_MAX);
      this.alerts = new Map(kept.map((alert) => [alert.id, alert]));
      this.noOlder = false;
      this.olderFrom = null;
    } else this.alerts = merged;
    if (whole) {
      this.noOlder = false;
      this.olderFrom = null;
    }
    if (this.alertsKnown) this.announce(news.filter((alert) => alert.state === 'active'));
    this.alertsKnown = true;
  }

  private announce(news: Alert[]): void {
    const told = news.filter((alert) => isHeard(alert)); // what people did is no news, nor what they put aside
    if (told.length === 0) return;
    const now = performance.now();
    const since = new Map([...this.newSince].filter(([, ms]) => now - ms < NEW_FOR_MS));
    for (const alert of told) since.set(alert.id, now);
    this.newSince = since;
    sounds.hear(told);
    this.newest = told.reduce((gravest, alert) => (alert.level < gravest.level ? alert : gravest));
  }
}

function notedKey(login: string): string {
  return `noted:${login}`;
}

function rememberedNoted(login: string): Set<string> {
  try {
    const stored: unknown = JSON.parse(localStorage.getItem(notedKey(login)) ?? '[]');
    return new Set(Array.isArray(stored) ? stored.filter((id) => typeof id === 'string') : []);
  } catch {
    return new Set(); // storage may be forbidden or hold something else
  }
}

function rememberNoted(login: string, ids: string[]): void {
  try {
    localStorage.setItem(notedKey(login), JSON.stringify(ids));
  } catch {
    // not remembered over a reload
  }
}

export const live = new Live();

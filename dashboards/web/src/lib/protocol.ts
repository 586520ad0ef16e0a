/**
 * The live view's protocol: ticket -> hello -> subscribe or resume -> snapshots and deltas, and again after a drop.
 *
 * No DOM, no store: the socket, the ticket and the timers are given, what is learned is told through `tell`. The caller
 * holds the facts; this module holds the cursor, so that no alert is lost and none is told twice.
 */
import type {
  Alert,
  Bounds,
  CrewRow,
  Figures,
  Flow,
  GoneUnits,
  InstanceTime,
  LinkRow,
  Me,
  Purpose,
  RoadEvent,
  StoppedPart,
  VehicleRow,
} from './types';

export const TOPICS = ['roads', 'alerts', 'figures', 'links', 'events', 'units'] as const;

const BACKOFF_FIRST_MS = 500;
const BACKOFF_MAX_MS = 15_000;
const STEADY_MS = 10_000; // a connection that held so long resets the back-off
export const SILENCE_MAX_MS = 25_000; // the server pings each 10 s; beyond it the connection is taken for dead
const ALERTS_KNOWN_MAX = 20_000; // (id, revision) remembered against doubles; the oldest are forgotten

const CLOSE_TICKET = 4401;
const CLOSE_SESSION = 4403;
const CLOSE_PROTOCOL = 4400;
const TICKETS_REFUSED_MAX = 2; // the first refusal may be a ticket that grew old on the way

export type ServerFrame =
  | { type: 'hello'; epoch: string; user: Me; tick_ms: number; purpose?: Purpose; rate?: number }
  | { type: 'snapshot' | 'delta'; topic: 'roads'; seq: string; at: number; checkpoints: Flow[] }
  | { type: 'snapshot' | 'delta'; topic: 'alerts'; seq: string; at: number; alerts: Alert[] }
  | { type: 'snapshot' | 'delta'; topic: 'figures'; seq: string; at: number; figures: Figures }
  | { type: 'snapshot' | 'delta'; topic: 'links'; seq: string; at: number; cycle_at: number | null; links: LinkRow[] }
  | { type: 'snapshot' | 'delta'; topic: 'events'; seq: string; at: number; events: RoadEvent[]; gone?: string[] }
  | UnitsFrame
  | { type: 'stale'; age_s: number; parts: StoppedPart[] }
  | { type: 'ping'; at: number; seq?: string }
  | { type: 'error'; code: string; message: string };

interface UnitsFrame {
  type: 'snapshot' | 'delta';
  topic: 'units';
  seq: string;
  at: number;
  crews: CrewRow[];
  vehicles: VehicleRow[];
  gone?: GoneUnits;
}

export type Link = 'connecting' | 'live' | 'lost';

/** What the client tells. `whole`: replaces all that was known of the topic; else only what changed. */
export type News =
  | { kind: 'link'; link: Link; retry_ms?: number }
  | { kind: 'user'; user: Me; time: InstanceTime }
  | { kind: 'heard'; at: number }
  | { kind: 'roads'; whole: boolean; checkpoints: Flow[] }
  | { kind: 'alerts'; whole: boolean; alerts: Alert[] }
  | { kind: 'figures'; at: number; figures: Figures }
  | { kind: 'links'; whole: boolean; cycle_at: number | null; links: LinkRow[] }
  | { kind: 'events'; whole: boolean; events: RoadEvent[]; gone: string[] }
  | { kind: 'units'; whole: boolean; crews: CrewRow[]; vehicles: VehicleRow[]; gone: GoneUnits }
  | { kind: 'stale'; age_s: number; parts: StoppedPart[] }
  | { kind: 'ended'; refused: boolean }; // refused: tickets are not taken, though somebody is logged in

export interface Ticket {
  ticket: string;
  url: string;
}

/** What a WebSocket is to this module. */
export interface Socket {
  send(text: string): void;
  close(): void;
  onopen: (() => void) | null;
  onmessage: ((event: { data: unknown }) => void) | null;
  onclose: ((event: { code: number }) => void) | null;
}

/** The ticket was refused because nobody is logged in any more. */
export class SessionEnded extends Error {}

/** A frame that is not of this protocol. */
export class FrameError extends Error {}

export interface LiveOptions {
  ticket: () => Promise<Ticket>;
  connect: (url: string) => Socket;
  tell: (news: News) => void;
  after?: (ms: number, act: () => void) => () => void; // returns what cancels it
  random?: () => number;
}

/** Bytes of a frame to the frame; null for a type or topic that this client does not know. FrameError when broken. */
export function readFrame(data: unknown): ServerFrame | null {
  if (typeof data !== 'string') throw new FrameError('frames are text');
  let frame: unknown;
  try {
    frame = JSON.parse(data);
  } catch {
    throw new FrameError('a frame is no JSON');
  }
  if (typeof frame !== 'object' || frame === null) throw new FrameError('a frame is no object');
  const { type, topic } = frame as { type?: unknown; topic?: unknown };
  if (type === 'snapshot' || type === 'delta') return readTopic(frame as Record<string, unknown>, topic);
  const known = ['hello', 'stale', 'ping', 'error'];
  return known.includes(type as string) ? (frame as ServerFrame) : null;
}

/** The lists that a topic's frames carry. */
const LISTS = {
  roads: ['checkpoints'],
  alerts: ['alerts'],
  figures: [],
  links: ['links'],
  events: ['events'],
  units: ['crews', 'vehicles'],
};

function readTopic(frame: Record<string, unknown>, topic: unknown): ServerFrame | null {
  const holds = LISTS[topic as keyof typeof LISTS];
  if (holds === undefined) return null;
  const figures = frame['figures'];
  const fits = topic === 'figures' ? typeof figures === 'object' && figures !== null : holds.every((name) => Array.isArray(frame[name]));
  if (!fits || typeof frame['seq'] !== 'string') throw new FrameError(`a frame of ${String(topic)} lacks its content`);
  return frame as unknown as ServerFrame;
}

/** Milliseconds to wait before attempt n (from 1): doubling, bounded, and spread so that screens don't come at once. */
export function backoffMs(attempt: number, random: () => number): number {
  const full = Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** Math.min(attempt - 1, 10));
  return Math.round(full * (0.5 + random() / 2));
}

/** The newest revision of each alert that was told already. */
class Told {
  private revisions = new Map<string, number>();

  /** Those not told before, and notes them. */
  fresh(alerts: Alert[]): Alert[] {
    const fresh = alerts.filter((alert) => {
      if ((this.revisions.get(alert.id) ?? 0) >= alert.revision) return false;
      this.revisions.delete(alert.id); // to the end: the map forgets what was not heard of for longest
      this.revisions.set(alert.id, alert.revision);
      return true;
    });
    for (const id of this.revisions.keys()) {
      if (this.revisions.size <= ALERTS_KNOWN_MAX) break;
      this.revisions.delete(id);
    }
    return fresh;
  }

  /** A snapshot is the truth at its cursor, also where it stands behind what was told from another epoch. */
  restart(alerts: Alert[]): void {
    this.revisions.clear();
    this.fresh(alerts);
  }
}

/**
 * One screen's connection. `start` once; `close` at log-out.
 *
 * The cursor is that of the last frame: the server tells alerts before all else, so whoever has a frame with its `seq`
 * has all alerts up to it. What comes twice all the same is dropped by (id, revision).
 */
export class LiveClient {
  private socket: Socket | null = null;
  private cursor: string | null = null;
  private epoch: string | null = null;
  private viewport: Bounds | null = null;
  private told = new Told();
  private attempt = 0;
  private ticketsRefused = 0;
  private closed = false;
  private generation = 0; // of the socket: what an older one still says is not heard
  private cancels: Record<'retry' | 'silence' | 'steady', (() => void) | null> = {
    retry: null,
    silence: null,
    steady: null,
  };
  private readonly after: (ms: number, act: () => void) => () => void;
  private readonly random: () => number;

  constructor(private readonly options: LiveOptions) {
    this.after = options.after ?? afterByTimer;
    this.random = options.random ?? Math.random;
  }

  start(): void {
    this.closed = false;
    void this.connect();
  }

  /** The person logs out or the page goes away: nothing is told any more. */
  close(): void {
    this.closed = true;
    this.drop();
  }

  /** Don't wait for the back-off: a person asks, or the network came back. */
  retryNow(): void {
    if (this.closed || this.socket !== null || this.cancels.retry === null) return;
    this.cancel('retry');
    void this.connect();
  }

  /** Roads are wanted of this part of the map only. */
  look(viewport: Bounds): void {
    this.viewport = viewport;
    this.send({ type: 'viewport', viewport });
  }

  acknowledge(ids: string[]): void {
    this.send({ type: 'ack', ids });
  }

  private async connect(): Promise<void> {
    const generation = ++this.generation;
    this.options.tell({ kind: 'link', link: 'connecting' });
    let ticket: Ticket;
    try {
      ticket = await this.options.ticket();
    } catch (error) {
      if (generation !== this.generation || this.closed) return;
      if (error instanceof SessionEnded) this.end();
      else this.retryLater();
      return;
    }
    if (generation !== this.generation || this.closed) return;
    this.open(ticket, generation);
  }

  private open(ticket: Ticket, generation: number): void {
    let socket: Socket;
    try {
      socket = this.options.connect(ticket.url);
    } catch {
      this.retryLater(); // an address that the browser refuses
      return;
    }
    this.socket = socket;
    socket.onmessage = (event) => {
      if (generation === this.generation) this.hear(event.data);
    };
    socket.onclose = (event) => {
      if (generation === this.generation) this.lose(event.code);
    };
    socket.onopen = () => this.send({ type: 'hello', ticket: ticket.ticket });
    this.listen();
  }

  private hear(data: unknown): void {
    this.listen();
    let frame: ServerFrame | null;
    try {
      frame = readFrame(data);
    } catch {
      this.forgetPlace();
      this.lose(CLOSE_PROTOCOL);
      return;
    }
    if (frame !== null) this.take(frame);
  }

  private take(frame: ServerFrame): void {
    switch (frame.type) {
      case 'hello':
        this.greet(frame.epoch, frame.user, { purpose: frame.purpose ?? 'live', rate: frame.rate ?? 1 });
        break;
      case 'ping':
        this.send({ type: 'pong' });
        if (frame.seq && this.cursor !== null) this.cursor = frame.seq;
        this.options.tell({ kind: 'heard', at: frame.at });
        break;
      case 'stale':
        this.options.tell({ kind: 'stale', age_s: frame.age_s, parts: frame.parts });
        break;
      case 'error':
        break; // the close that follows says what to do
      default:
        this.learn(frame);
    }
  }

  private greet(epoch: string, user: Me, time: InstanceTime): void {
    if (this.epoch !== null && this.epoch !== epoch) this.forgetPlace();
    this.epoch = epoch;
    this.ticketsRefused = 0;
    this.options.tell({ kind: 'user', user, time });
    const wanted = { topics: TOPICS, viewport: this.viewport };
    if (this.cursor === null) this.send({ type: 'subscribe', ...wanted });
    else this.send({ type: 'resume', ...wanted, since: this.cursor });
    this.options.tell({ kind: 'link', link: 'live' });
    this.cancels.steady = this.after(STEADY_MS, () => {
      this.attempt = 0;
    });
  }

  private learn(frame: Extract<ServerFrame, { topic: string }>): void {
    const whole = frame.type === 'snapshot';
    this.options.tell({ kind: 'heard', at: frame.at });
    switch (frame.topic) {
      case 'roads':
        this.options.tell({ kind: 'roads', whole, checkpoints: frame.checkpoints });
        break;
      case 'figures':
        this.options.tell({ kind: 'figures', at: frame.at, figures: frame.figures });
        break;
      case 'links':
        this.options.tell({ kind: 'links', whole, cycle_at: frame.cycle_at, links: frame.links });
        break;
      case 'events':
        this.options.tell({ kind: 'events', whole, events: frame.events, gone: frame.gone ?? [] });
        break;
      case 'units':
        this.options.tell({ kind: 'units', whole, crews: frame.crews, vehicles: frame.vehicles, gone: frame.gone ?? {} });
        break;
      case 'alerts':
        this.tellAlerts(frame.alerts, whole);
    }
    this.cursor = frame.seq; // only now: what was told is here
  }

  private tellAlerts(told: Alert[], whole: boolean): void {
    if (whole) {
      this.told.restart(told);
      this.options.tell({ kind: 'alerts', whole, alerts: told });
      return;
    }
    const alerts = this.told.fresh(told);
    if (alerts.length > 0) this.options.tell({ kind: 'alerts', whole, alerts });
  }

  private lose(code: number): void {
    this.drop();
    if (code === CLOSE_SESSION) return this.end();
    if (code === CLOSE_TICKET && ++this.ticketsRefused >= TICKETS_REFUSED_MAX) return this.end(true);
    if (code === CLOSE_PROTOCOL) this.forgetPlace();
    this.retryLater();
  }

  private retryLater(): void {
    this.attempt += 1;
    const retry_ms = backoffMs(this.attempt, this.random);
    this.options.tell({ kind: 'link', link: 'lost', retry_ms });
    this.cancels.retry = this.after(retry_ms, () => {
      this.cancels.retry = null;
      void this.connect();
    });
  }

  private end(refused = false): void {
    this.close();
    this.options.tell({ kind: 'ended', refused });
  }

  private forgetPlace(): void {
    this.cursor = null;
  }

  /** Leave the present socket and its timers. */
  private drop(): void {
    this.generation += 1;
    for (const timer of ['retry', 'silence', 'steady'] as const) this.cancel(timer);
    const socket = this.socket;
    this.socket = null;
    if (socket === null) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  private listen(): void {
    this.cancel('silence');
    this.cancels.silence = this.after(SILENCE_MAX_MS, () => this.lose(0));
  }

  private cancel(timer: 'retry' | 'silence' | 'steady'): void {
    this.cancels[timer]?.();
    this.cancels[timer] = null;
  }

  private send(message: object): void {
    if (this.socket === null) return;
    try {
      this.socket.send(JSON.stringify(message));
    } catch {
      // not open yet, or closing: viewport goes with the next subscription, the close is told by itself
    }
  }
}

function afterByTimer(ms: number, act: () => void): () => void {
  const timer = setTimeout(act, ms);
  return () => clearTimeout(timer);
}

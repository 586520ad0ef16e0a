import { beforeEach, describe, expect, it } from 'vitest';
import { backoffMs, FrameError, LiveClient, readFrame, SessionEnded, SILENCE_MAX_MS, type News, type Socket } from '../src/lib/protocol';
import type { Alert, Me } from '../src/lib/types';

const USER: Me = { login: 'a', name: 'A', role: 'dispatcher', clearance: 0, unit: { id: 1, name: '总队', level: 1 } };

function alert(id: string, revision = 1): Alert {
  return { id, revision, kind: 'watch_hit', observations: [], level: 1, state: 'active' } as unknown as Alert;
}

class FakeSocket implements Socket {
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onclose: ((event: { code: number }) => void) | null = null;
  said: Record<string, unknown>[] = [];
  left = false;
  send(text: string): void {
    this.said.push(JSON.parse(text));
  }
  close(): void {
    this.left = true;
  }
  opens(): void {
    this.onopen?.();
  }
  tells(frame: object | string): void {
    this.onmessage?.({ data: typeof frame === 'string' ? frame : JSON.stringify(frame) });
  }
  drops(code: number): void {
    this.onclose?.({ code });
  }
}

/** Timers that run when the test says so. */
class Timers {
  private waiting = new Set<{ ms: number; act: () => void }>();
  after = (ms: number, act: () => void): (() => void) => {
    const timer = { ms, act };
    this.waiting.add(timer);
    return () => this.waiting.delete(timer);
  };
  get lengths(): number[] {
    return [...this.waiting].map((timer) => timer.ms);
  }
  /** Let all waiting timers of at most that length run out. */
  pass(ms: number): void {
    for (const timer of [...this.waiting].filter((one) => one.ms <= ms)) {
      this.waiting.delete(timer);
      timer.act();
    }
  }
}

const settle = () => new Promise<void>((done) => setImmediate(done));

describe('the live client', () => {
  let sockets: FakeSocket[];
  let news: News[];
  let timers: Timers;
  let ticket: () => Promise<{ ticket: string; url: string }>;
  let client: LiveClient;

  beforeEach(() => {
    sockets = [];
    news = [];
    timers = new Timers();
    ticket = async () => ({ ticket: `ticket-${sockets.length}`, url: 'ws://view' });
    client = new LiveClient({
      ticket: () => ticket(),
      connect: () => {
        const socket = new FakeSocket();
        sockets.push(socket);
        return socket;
      },
      tell: (one) => news.push(one),
      after: timers.after,
      random: () => 1,
    });
  });

  const last = () => sockets.at(-1) as FakeSocket;
  const alertsTold = () => news.flatMap((one) => (one.kind === 'alerts' ? one.alerts.map((a) => `${a.id}/${a.revision}`) : []));
  const links = () => news.flatMap((one) => (one.kind === 'link' ? [one.link] : []));

  async function connected(epoch = 'e'): Promise<FakeSocket> {
    await settle();
    last().opens();
    last().tells({ type: 'hello', epoch, user: USER, tick_ms: 50 });
    return last();
  }
  const snapshot = (seq: string, alerts: Alert[]) => ({ type: 'snapshot', topic: 'alerts', seq, at: 1, alerts });
  const delta = (seq: string, alerts: Alert[]) => ({ type: 'delta', topic: 'alerts', seq, at: 2, alerts });

  it('shows its ticket first, then subscribes to all topics', async () => {
    client.start();
    const socket = await connected();
    expect(socket.said).toEqual([
      { type: 'hello', ticket: 'ticket-0' },
      { type: 'subscribe', topics: ['roads', 'alerts', 'figures', 'links', 'events', 'units'], viewport: null },
    ]);
    expect(links()).toEqual(['connecting', 'live']);
  });

  it('resumes with the cursor of the last frame after a drop', async () => {
    client.start();
    const first = await connected();
    first.tells(snapshot('e|0:1', [alert('a')]));
    first.tells({ type: 'delta', topic: 'roads', seq: 'e|0:7', at: 3, checkpoints: [] });
    first.tells({ type: 'ping', at: 4, seq: 'e|0:9' });
    expect(first.said.at(-1)).toEqual({ type: 'pong' });
    first.drops(1006);
    expect(links().at(-1)).toBe('lost');
    timers.pass(1_000);
    const second = await connected();
    expect(second.said[1]).toMatchObject({ type: 'resume', since: 'e|0:9' });
  });

  it('tells an alert that is replayed only once, and its next revision again', async () => {
    client.start();
    const first = await connected();
    first.tells(snapshot('e|0:1', [alert('a')]));
    first.tells(delta('e|0:2', [alert('b')]));
    first.drops(1013);
    timers.pass(1_000);
    const second = await connected();
    second.tells(delta('e|0:3', [alert('b'), alert('a', 2), alert('c')]));
    second.tells(delta('e|0:3', [alert('a', 1)]));
    expect(alertsTold()).toEqual(['a/1', 'b/1', 'a/2', 'c/1']);
  });

  it('subscribes afresh when the instance is another one', async () => {
    client.start();
    const first = await connected('e');
    first.tells(snapshot('e|0:1', [alert('a')]));
    first.drops(1001);
    timers.pass(1_000);
    const second = await connected('f');
    expect(second.said[1]).toMatchObject({ type: 'subscribe' });
  });

  it('subscribes afresh after a protocol error, so that a bad cursor is not sent for ever', async () => {
    client.start();
    const first = await connected();
    first.tells(snapshot('e|0:1', [alert('a')]));
    first.drops(4400);
    timers.pass(1_000);
    expect((await connected()).said[1]).toMatchObject({ type: 'subscribe' });
  });

  it('drops the connection on a broken frame and comes back', async () => {
    client.start();
    const first = await connected();
    first.tells('{"type":"snapshot","topic":"alerts","seq":1}');
    expect(first.left).toBe(true);
    expect(links().at(-1)).toBe('lost');
    timers.pass(1_000);
    expect((await connected()).said[1]).toMatchObject({ type: 'subscribe' });
  });

  it('lets frames of unknown types and topics go by', async () => {
    client.start();
    const socket = await connected();
    socket.tells({ type: 'weather' });
    socket.tells({ type: 'delta', topic: 'cases', seq: 'x', at: 1, cases: [] });
    expect(links().at(-1)).toBe('live');
  });

  it('takes silence for a dead connection', async () => {
    client.start();
    const socket = await connected();
    timers.pass(SILENCE_MAX_MS);
    expect(socket.left).toBe(true);
    expect(links().at(-1)).toBe('lost');
  });

  it('waits longer after each failure, and retries at once when asked', async () => {
    ticket = async () => Promise.reject(new Error('no network'));
    client.start();
    await settle();
    expect(timers.lengths).toEqual([500]);
    timers.pass(500);
    await settle();
    expect(timers.lengths).toEqual([1_000]);
    client.retryNow();
    await settle();
    expect(timers.lengths).toEqual([2_000]);
  });

  it('ends when the session has ended', async () => {
    client.start();
    (await connected()).drops(4403);
    expect(news.at(-1)).toEqual({ kind: 'ended', refused: false });
    expect(timers.lengths).toEqual([]);
  });

  it('ends when nobody is logged in any more', async () => {
    ticket = async () => Promise.reject(new SessionEnded());
    client.start();
    await settle();
    expect(news.at(-1)).toEqual({ kind: 'ended', refused: false });
  });

  it('tries one more ticket when the first is refused, then gives up', async () => {
    client.start();
    await settle();
    last().drops(4401);
    timers.pass(1_000);
    await settle();
    expect(sockets).toHaveLength(2);
    last().drops(4401);
    expect(news.at(-1)).toEqual({ kind: 'ended', refused: true });
  });

  it('does not hear what an old socket still says', async () => {
    client.start();
    const first = await connected();
    const hear = first.onmessage;
    first.drops(1006);
    const told = news.length;
    hear?.({ data: JSON.stringify(snapshot('e|0:9', [alert('z')])) });
    expect(news).toHaveLength(told);
  });

  it('keeps the viewport over a drop', async () => {
    client.start();
    const first = await connected();
    client.look([1, 2, 3, 4]);
    expect(first.said.at(-1)).toEqual({ type: 'viewport', viewport: [1, 2, 3, 4] });
    first.drops(1006);
    timers.pass(1_000);
    expect((await connected()).said[1]).toMatchObject({ viewport: [1, 2, 3, 4] });
  });

  it('says nothing after it was closed', async () => {
    client.start();
    const socket = await connected();
    client.close();
    expect(socket.left).toBe(true);
    expect(timers.lengths).toEqual([]);
  });

  it('hands on what has stopped, and a snapshot as a whole', async () => {
    client.start();
    const socket = await connected();
    socket.tells({ type: 'stale', age_s: 4, parts: [{ part: 'worker', since: 5 }] });
    socket.tells({ type: 'snapshot', topic: 'roads', seq: 'e|', at: 6, checkpoints: [] });
    expect(news).toContainEqual({ kind: 'stale', age_s: 4, parts: [{ part: 'worker', since: 5 }] });
    expect(news).toContainEqual({ kind: 'roads', whole: true, checkpoints: [] });
  });
});

describe('a frame', () => {
  it.each([['[]'], ['nonsense'], ['null'], ['{"type":"delta","topic":"figures","seq":"s","figures":null}']])('%s is refused or unknown', (text) => {
    let read: unknown = null;
    try {
      read = readFrame(text);
    } catch (error) {
      expect(error).toBeInstanceOf(FrameError);
    }
    expect(read).toBeNull();
  });
  it('in binary is refused', () => {
    expect(() => readFrame(new ArrayBuffer(2))).toThrow(FrameError);
  });
});

it('the back-off doubles, is bounded and spread', () => {
  expect([1, 2, 3, 20].map((attempt) => backoffMs(attempt, () => 1))).toEqual([500, 1_000, 2_000, 15_000]);
  expect(backoffMs(1, () => 0)).toBe(250);
});

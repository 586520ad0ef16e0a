/** The picture of the roads as it stands: links, events, crews and key vehicles. Fed by the live view. */
import { clock } from './clock.svelte';
import { live } from './live.svelte';
import type { News } from './protocol';
import type { CrewRow, LinkState, RoadEvent, VehicleRow } from './types';

export const CYCLE_S = 30;
export const LINK_FRESH_S = 90; // beyond it, and a cycle on the way, a link's state is no knowledge
const LINK_OLD_US = (LINK_FRESH_S + CYCLE_S + 5) * 1e6;
export const UNIT_FRESH_S = 300; // as the figures count crews
export const ENDED_SHOWN_S = 30 * 60;
const FIVE_SECONDS_US = 5e6;

export const UNKNOWN: LinkState = {
  level: 0,
  speed_kmh: null,
  flow_vph: null,
  density_vkm: null,
  travel_s: null,
  travel_p90_s: null,
  confidence: 0,
  observed_us: null,
  risk_level: 0,
  risk_next_level: 0,
};

class PictureStore {
  private rows = new Map<number, LinkState>();
  linkVersion = $state(0);
  linksKnown = $state(false);
  cycleAt = $state<number | null>(null);

  events = $state.raw<ReadonlyMap<string, RoadEvent>>(new Map());
  eventsKnown = $state(false);
  fresh = $state.raw<ReadonlyMap<string, number>>(new Map()); // event id -> monotonic ms when it changed here
  private trends = new Map<string, 'up' | 'down' | 'flat'>();
  newest = $state.raw<RoadEvent | null>(null); // what is spoken

  crews = new Map<number, CrewRow>();
  vehicles = new Map<string, VehicleRow>();
  unitVersion = $state(0);
  unitsKnown = $state(false);

  /** Steps each five seconds: what grows old is looked at again. */
  private step = $derived(Math.floor((clock.nowMs * 1000) / FIVE_SECONDS_US));
  monitorStopped = $derived(live.stale?.parts.some((part) => part.part === 'monitor') ?? false);
  cycleAgeS = $derived(this.cycleAt === null ? null : Math.max(0, clock.nowMs / 1000 - this.cycleAt / 1e6));

  /** A link's state; all unknown where its data are old or nothing may be said. */
  state(id: number): LinkState {
    void this.linkVersion;
    void this.step;
    const row = live.dark ? undefined : this.rows.get(id);
    if (row === undefined || row.level === 0) return UNKNOWN;
    return row.observed_us === null || clock.exactMs() * 1000 - row.observed_us > LINK_OLD_US ? UNKNOWN : row;
  }

  /** Open events and those that ended a short while ago. */
  shownEvents = $derived.by<RoadEvent[]>(() => {
    const nowUs = this.step * FIVE_SECONDS_US;
    return [...this.events.values()].filter((one) => one.state === 'open' || nowUs - (one.ended_at ?? 0) < ENDED_SHOWN_S * 1e6);
  });

  /** Whether an event grew or shrank with its last revision that came while this screen was open. */
  trendOf(id: string): 'up' | 'down' | 'flat' | 'none' {
    void this.events;
    return this.trends.get(id) ?? 'none';
  }

  forget(): void {
    this.trends.clear();
    this.rows.clear();
    this.linkVersion += 1;
    this.linksKnown = this.eventsKnown = this.unitsKnown = false;
    this.cycleAt = null;
    this.events = this.fresh = new Map();
    this.newest = null;
    this.crews.clear();
    this.vehicles.clear();
    this.unitVersion += 1;
  }

  take(news: Extract<News, { kind: 'links' | 'events' | 'units' }>): void {
    if (news.kind === 'links') this.takeLinks(news);
    else if (news.kind === 'events') this.takeEvents(news);
    else this.takeUnits(news);
  }

  private takeLinks(news: Extract<News, { kind: 'links' }>): void {
    if (news.whole) this.rows.clear();
    for (const [id, level, speed_kmh, flow_vph, density_vkm, travel_s, travel_p90_s, confidence, observed_us, risk, next] of news.links)
      this.rows.set(id, {
        level, speed_kmh, flow_vph, density_vkm, travel_s, travel_p90_s, confidence, observed_us, risk_level: risk, risk_next_level: next,
      });
    this.cycleAt = news.cycle_at ?? this.cycleAt;
    this.linksKnown = true;
    this.linkVersion += 1;
  }

  private takeEvents(news: Extract<News, { kind: 'events' }>): void {
    const merged = news.whole ? new Map<string, RoadEvent>() : new Map(this.events);
    const now = performance.now();
    const fresh = new Map([...this.fresh].filter(([, ms]) => now - ms < 60_000));
    for (const event of news.events) {
      const before = this.events.get(event.id);
      if (before && before.revision > event.revision) continue;
      merged.set(event.id, event);
      if (before && before.revision < event.revision) this.trends.set(event.id, trendBetween(before, event));
      if (!this.eventsKnown || event.state !== 'open' || event.revision === before?.revision) continue;
      if (!before) fresh.set(event.id, now);
      if (!before && event.level <= 2) this.newest = event;
    }
    for (const id of news.gone) merged.delete(id);
    this.events = merged;
    this.fresh = fresh;
    this.eventsKnown = true;
  }

  private takeUnits(news: Extract<News, { kind: 'units' }>): void {
    if (news.whole) {
      this.crews.clear();
      this.vehicles.clear();
    }
    for (const row of news.crews) this.crews.set(row[0], row);
    for (const row of news.vehicles) this.vehicles.set(vehicleKey(row[0], row[1]), row);
    for (const id of news.gone.crews ?? []) this.crews.delete(id);
    for (const [plate, group] of news.gone.vehicles ?? []) this.vehicles.delete(vehicleKey(plate, group));
    this.unitsKnown = true;
    this.unitVersion += 1;
  }
}

const GROWN_M = 100; // less is noise of the places of sensors

function trendBetween(before: RoadEvent, now: RoadEvent): 'up' | 'down' | 'flat' {
  const lengthOf = (event: RoadEvent) => Math.abs(event.head_stake_m - event.tail_stake_m);
  const grown = before.level === now.level ? lengthOf(now) - lengthOf(before) : (before.level - now.level) * 1e6;
  return grown > GROWN_M ? 'up' : grown < -GROWN_M ? 'down' : 'flat';
}

export function vehicleKey(plate: string, group: number): string {
  return `${plate}/${group}`;
}

export const picture = new PictureStore();
live.tellRoads = (news) => (news === null ? picture.forget() : picture.take(news));

/** What a person picked, and where the map is asked to fly. */
import type { Bounds, PlaceAnswer } from './types';

export type Thing =
  | { kind: 'link'; id: number }
  | { kind: 'event'; id: string }
  | { kind: 'checkpoint'; id: number }
  | { kind: 'detector'; id: number }
  | { kind: 'object'; id: number }
  | { kind: 'crew'; id: number }
  | { kind: 'vehicle'; id: string }
  | { kind: 'point'; lon: number; lat: number; place: PlaceAnswer | null };

export type Flight = { to: 'point'; lon: number; lat: number; zoom: number } | { to: 'box'; bounds: Bounds };

class Chosen {
  thing = $state.raw<Thing | null>(null);
  flight = $state.raw<Flight | null>(null);

  pick(thing: Thing | null): void {
    this.thing = thing;
  }

  is(kind: Thing['kind'], id: number | string): boolean {
    return this.thing !== null && this.thing.kind === kind && 'id' in this.thing && this.thing.id === id;
  }

  flyTo(lon: number, lat: number, zoom = 10.5): void {
    this.flight = { to: 'point', lon, lat, zoom };
  }

  flyOver(bounds: Bounds): void {
    this.flight = { to: 'box', bounds };
  }
}

export const chosen = new Chosen();

/** Which layers of the map are on, by person; what colours the links. */

export const LAYERS = ['events', 'weather', 'checkpoints', 'detectors', 'objects', 'crews', 'vehicles', 'alerts', 'labels'] as const;
export type Layer = (typeof LAYERS)[number];
export const COLOURINGS = ['state', 'risk', 'next', 'none'] as const;
export type Colouring = (typeof COLOURINGS)[number];
export const OBJECT_KINDS = ['toll_station', 'service_area', 'message_sign', 'camera', 'interception_point', 'inspection_station'] as const;

const KEY = 'layers';
const QUIET_AT_FIRST: Record<number, Layer[]> = { 1: ['vehicles', 'crews'], 2: ['vehicles'], 3: [], 4: [] };

class Layers {
  colouring = $state<Colouring>('state');
  private off = $state.raw<ReadonlySet<Layer>>(new Set());
  hiddenKinds = $state.raw<ReadonlySet<string>>(new Set());
  open = $state(false);

  isOn(layer: Layer): boolean {
    return !this.off.has(layer);
  }

  showsKind(kind: string): boolean {
    return !this.hiddenKinds.has(kind);
  }

  toggle(layer: Layer): void {
    this.off = flipped(this.off, layer);
    this.remember();
  }

  toggleKind(kind: string): void {
    this.hiddenKinds = flipped(this.hiddenKinds, kind);
    this.remember();
  }

  colour(by: Colouring): void {
    this.colouring = by;
    this.remember();
  }

  /** As this person left them, or as their level begins. */
  begin(login: string, level: number): void {
    this.login = login;
    this.colouring = 'state';
    this.off = new Set(QUIET_AT_FIRST[level] ?? []);
    this.hiddenKinds = new Set();
    try {
      const kept = JSON.parse(localStorage.getItem(`${KEY}:${login}`) ?? 'null') as { off?: Layer[]; kinds?: string[]; colouring?: Colouring } | null;
      if (kept === null) return;
      this.off = new Set((kept.off ?? []).filter((layer) => LAYERS.includes(layer)));
      this.hiddenKinds = new Set(kept.kinds ?? []);
      if (kept.colouring && COLOURINGS.includes(kept.colouring)) this.colouring = kept.colouring;
    } catch {
      // storage may be forbidden or hold something else: the beginning stands
    }
  }

  private login = '';

  private remember(): void {
    try {
      const kept = { off: [...this.off], kinds: [...this.hiddenKinds], colouring: this.colouring };
      localStorage.setItem(`${KEY}:${this.login}`, JSON.stringify(kept));
    } catch {
      // not remembered over a reload
    }
  }
}

function flipped<T>(set: ReadonlySet<T>, value: T): ReadonlySet<T> {
  const next = new Set(set);
  if (!next.delete(value)) next.add(value);
  return next;
}

export const layers = new Layers();

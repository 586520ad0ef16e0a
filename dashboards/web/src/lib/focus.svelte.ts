/** Which unit's area is looked at: one's own at first, any below it by a click. */
import { units } from './api';
import { boxOf, RoadLines, type LinkFeature, type Point } from './geometry';
import { live } from './live.svelte';
import type { Bounds, UnitNode } from './types';

class Focus {
  nodes = $state.raw<ReadonlyMap<number, UnitNode>>(new Map());
  error = $state.raw<unknown>(null);
  private wanted = $state<number | null>(null);

  id = $derived<number>(this.wanted ?? live.me?.unit.id ?? 0);
  unit = $derived<UnitNode | null>(this.nodes.get(this.id) ?? null);
  level = $derived(this.unit?.level ?? live.me?.unit.level ?? 1);
  atHome = $derived(this.id === live.me?.unit.id);

  private byParent = $derived.by(() => {
    const children = new Map<number, UnitNode[]>();
    for (const node of this.nodes.values())
      if (node.parent !== null && node.within) children.set(node.parent, [...(children.get(node.parent) ?? []), node]);
    return children;
  });

  children = $derived<UnitNode[]>(this.byParent.get(this.id) ?? []);

  /** The unit and all below it. */
  subtree = $derived.by<ReadonlySet<number>>(() => this.below(this.id));

  /** From one's own unit down to the one in focus. */
  path = $derived.by<UnitNode[]>(() => {
    const line: UnitNode[] = [];
    for (let node = this.nodes.get(this.id); node?.within; node = node.parent === null ? undefined : this.nodes.get(node.parent))
      line.unshift(node);
    return line;
  });

  links = $derived<LinkFeature[]>((live.area?.links.features ?? []).filter((link) => this.holds(link.properties.unit_id)));
  lines = $derived(new RoadLines((live.area?.links.features ?? []) as LinkFeature[]));

  below(id: number): Set<number> {
    const found = new Set([id]);
    for (const unit of found) for (const child of this.byParent.get(unit) ?? []) found.add(child.id);
    return found;
  }

  /** Whether a unit's matters belong to the area in focus. One's own screen holds all that one may see. */
  holds(unit: number): boolean {
    return this.subtree.has(unit) || (this.atHome && this.nodes.size > 0);
  }

  async load(): Promise<void> {
    try {
      this.nodes = new Map((await units()).map((unit) => [unit.id, unit]));
      this.error = null;
    } catch (error) {
      this.error = error;
    }
  }

  look(id: number | null): void {
    this.wanted = id === live.me?.unit.id ? null : id;
  }

  forget(): void {
    this.wanted = null;
    this.nodes = new Map();
  }

  /** The box of the area in focus; null where it has no road of its own. */
  bounds(id: number = this.id): Bounds | null {
    if (live.area === null) return null;
    if (id === live.me?.unit.id) return live.area.bounds;
    const inside = this.below(id);
    const points = live.area.links.features
      .filter((link) => inside.has(link.properties.unit_id))
      .flatMap((link) => link.geometry.coordinates as Point[]);
    const gates = live.area.checkpoints.filter((gate) => inside.has(gate.unit_id)).map((gate): Point => [gate.lon, gate.lat]);
    return boxOf([...points, ...gates]);
  }
}

export const focus = new Focus();

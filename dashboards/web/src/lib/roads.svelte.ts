import { live } from './live.svelte';
import type { RoadFacts } from './types';

const byCode = $derived(new Map((live.area?.roads.features ?? []).map((road) => [road.properties.code, road.properties])));

/** The roads of the area by their code. */
export function roadNames(): ReadonlyMap<string, RoadFacts> {
  return byCode;
}

const byId = $derived(new Map((live.area?.roads.features ?? []).map((road) => [road.properties.id, road.properties])));

/** The roads of the area by their id. */
export function roadsById(): ReadonlyMap<number, RoadFacts> {
  return byId;
}

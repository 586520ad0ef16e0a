/** Roads are known by id inside the client; answers name them by code, by id or by both. Pure. */
import type { Area, RoadFacts } from './types';

type Loose<T> = Omit<T, 'road'> & { road: number | string; road_id?: number };

export type RawArea = Omit<Area, 'links' | 'detectors' | 'objects' | 'crews'> & {
  links?: { type: 'FeatureCollection'; features: (GeoJSON.Feature<GeoJSON.LineString> & { properties: Loose<Area['links']['features'][number]['properties']> })[] };
  detectors?: Loose<Area['detectors'][number]>[];
  objects?: Loose<Area['objects'][number]>[];
  crews?: Area['crews'];
};

/** Every road's id by its code, from whatever part of the answer tells both. */
function idsByCode(raw: RawArea): Map<string, number> {
  const ids = new Map<string, number>();
  for (const { properties } of raw.roads.features) if (typeof properties.id === 'number') ids.set(properties.code, properties.id);
  for (const { properties } of raw.links?.features ?? [])
    if (typeof properties.road === 'string' && properties.road_id !== undefined) ids.set(properties.road, properties.road_id);
  let unnamed = -1; // a road without links here: it still needs an identity of its own
  for (const { properties } of raw.roads.features) if (!ids.has(properties.code)) ids.set(properties.code, unnamed--);
  return ids;
}

function roadOf(thing: { road: number | string; road_id?: number }, ids: ReadonlyMap<string, number>): number {
  return thing.road_id ?? (typeof thing.road === 'number' ? thing.road : (ids.get(thing.road) ?? 0));
}

export function withRoadIds(raw: RawArea): Area {
  const ids = idsByCode(raw);
  const fixed = <T extends { road: number | string; road_id?: number }>(thing: T) => ({ ...thing, road: roadOf(thing, ids) });
  return {
    ...raw,
    roads: {
      ...raw.roads,
      features: raw.roads.features.map((road) => ({
        ...road,
        properties: { ...road.properties, id: ids.get(road.properties.code) } as RoadFacts,
      })),
    },
    links: {
      type: 'FeatureCollection',
      features: (raw.links?.features ?? []).map((link) => ({ ...link, id: link.properties.id, properties: fixed(link.properties) })),
    },
    detectors: (raw.detectors ?? []).map(fixed),
    objects: (raw.objects ?? []).map(fixed),
    crews: raw.crews ?? [],
  };
}

/** Reports and works with their road by id. */
export function stretchesOf<T extends { road: number }>(rows: (T & { road_id?: number })[]): T[] {
  return rows.map((row) => ({ ...row, road: row.road_id ?? row.road }));
}

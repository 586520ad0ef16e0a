/** Areas tinted by their congestion index: prefectures for a corps, counties for a detachment. Pure. */
import type { Area, AreaSummary, DivisionFacts, UnitNode } from '../lib/types';

export const KNOWN_SHARE_MIN = 0.5; // of the length; below it an index says too little to tint by

/** Level 1..5 of an index 0..10; 0 where too little is known. */
export function toneOfIndex(index: number | null | undefined, known_share: number): number {
  if (index === null || index === undefined || known_share < KNOWN_SHARE_MIN) return 0;
  return Math.min(5, Math.max(1, Math.floor(index / 2) + 1));
}

/** The division of a territorial unit: its code begins with it. */
function adcodeOf(unit: UnitNode): number | null {
  return unit.branch === 'territorial' ? Number(unit.code.slice(0, 6)) : null;
}

export interface Tints {
  areas: GeoJSON.FeatureCollection<GeoJSON.Polygon | GeoJSON.MultiPolygon, { tone: number }>;
  figures: ReadonlyMap<number, string>; // adcode -> what is written beside the name
}

export function tints(area: Area, summary: AreaSummary | null, nodes: ReadonlyMap<number, UnitNode>, level: number): Tints {
  const areas: Tints['areas'] = { type: 'FeatureCollection', features: [] };
  const figures = new Map<number, string>();
  const shapes = new Map(area.divisions.features.map((division) => [division.properties.adcode, division]));
  if (level > 2) return { areas, figures };
  for (const child of summary?.children ?? []) {
    const node = nodes.get(child.unit.id);
    const adcode = node ? adcodeOf(node) : null;
    const shape = adcode === null ? undefined : (shapes.get(adcode) as GeoJSON.Feature<GeoJSON.Polygon | GeoJSON.MultiPolygon, DivisionFacts> | undefined);
    if (!shape || adcode === null) continue;
    const tone = toneOfIndex(child.index?.index, child.index?.known_share ?? 0);
    areas.features.push({ type: 'Feature', geometry: shape.geometry, properties: { tone } });
    figures.set(adcode, tone === 0 ? '' : ` ${(child.index?.index ?? 0).toFixed(1)}`);
  }
  return { areas, figures };
}

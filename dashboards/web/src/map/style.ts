/** How the map looks: no tiles, no glyphs, no sprites, hence no network. `scale`: size of the interface, 1 = 16 px. */
import type { LayerSpecification, StyleSpecification } from 'maplibre-gl';
import type { Language } from '../words/index.svelte';
import { BOLD, COLOURS, DOTS_ZOOM, NEAR_ZOOM, TEXT } from './palette';
import { roadLayers } from './roadstyle';

export const SOURCES = [
  'divisions', 'tints', 'division-names', 'roads', 'links', 'link-marks', 'weather', 'events', 'detectors', 'objects', 'stakes',
  'checkpoints', 'vehicles', 'crews', 'alerts', 'trail', 'place',
] as const;
export type Source = (typeof SOURCES)[number];

const LEVEL_COLOUR = ['match', ['get', 'level'], 1, COLOURS.level[0], 2, COLOURS.level[1], 3, COLOURS.level[2], COLOURS.level[3]];
const TONE_COLOUR = [
  'match',
  ['get', 'tone'],
  'free',
  COLOURS.free,
  'slow',
  COLOURS.slow,
  'jam',
  COLOURS.jam,
  COLOURS.unmeasured,
];

const DOT_SIZE = ['min', 15, ['+', 4, ['sqrt', ['get', 'flow']]]];

/** An empty style with its sources; layers follow by `layers`. */
export function emptyStyle(): StyleSpecification {
  const sources: StyleSpecification['sources'] = {};
  for (const source of SOURCES)
    sources[source] = { type: 'geojson', data: { type: 'FeatureCollection', features: [] }, tolerance: 0.2 };
  return {
    version: 8,
    sources,
    layers: [{ id: 'ground', type: 'background', paint: { 'background-color': COLOURS.ground } }],
  };
}

export function layers(language: Language, scale: number): LayerSpecification[] {
  const { below, above } = roadLayers(language, scale);
  return [
    ...land(scale), ...roads(scale), ...below, ...dots(scale), ...names(language, scale), ...above, ...marks(scale),
  ] as LayerSpecification[];
}

function land(scale: number): unknown[] {
  return [
    { id: 'area', type: 'fill', source: 'divisions', paint: { 'fill-color': COLOURS.area, 'fill-antialias': false } },
    {
      id: 'tint',
      type: 'fill',
      source: 'tints',
      filter: ['>', ['get', 'tone'], 0],
      paint: { 'fill-color': ['match', ['get', 'tone'], 1, '#1b4a48', 2, '#41501f', 3, '#6b4c12', 4, '#71301a', '#701238'], 'fill-opacity': 0.55 },
    },
    {
      id: 'tint-unknown',
      type: 'fill',
      source: 'tints',
      filter: ['==', ['get', 'tone'], 0],
      paint: { 'fill-pattern': 'hatch-area', 'fill-opacity': 0.32 },
    },
    {
      id: 'counties',
      type: 'line',
      source: 'divisions',
      filter: ['>=', ['get', 'level'], 3],
      paint: { 'line-color': COLOURS.county, 'line-width': scale },
    },
    {
      id: 'prefectures',
      type: 'line',
      source: 'divisions',
      filter: ['<', ['get', 'level'], 3],
      paint: { 'line-color': COLOURS.areaLine, 'line-width': 1.6 * scale },
    },
  ];
}

function roads(scale: number): unknown[] {
  const width = (base: number) => ['interpolate', ['linear'], ['zoom'], 5, base * 0.5 * scale, 9, base * 0.9 * scale, 14, base * 2 * scale];
  const line = { 'line-cap': 'round', 'line-join': 'round' };
  const expressway = ['==', ['get', 'kind'], 'expressway'];
  return [
    { id: 'road-casing', type: 'line', source: 'roads', layout: line, paint: { 'line-color': COLOURS.casing, 'line-width': width(4.4) } },
    {
      id: 'trunk',
      type: 'line',
      source: 'roads',
      filter: ['!', expressway],
      layout: line,
      paint: { 'line-color': COLOURS.trunk, 'line-width': width(1.8) },
    },
    {
      id: 'expressway',
      type: 'line',
      source: 'roads',
      filter: expressway,
      layout: line,
      paint: { 'line-color': COLOURS.expressway, 'line-width': width(2.8) },
    },
  ];
}

function dots(scale: number): unknown[] {
  const minzoom = DOTS_ZOOM + Math.log2(scale);
  return [
    {
      id: 'dots-unknown',
      minzoom,
      type: 'symbol',
      source: 'checkpoints',
      filter: ['==', ['get', 'tone'], 'unknown'],
      layout: { 'icon-image': 'unknown', 'icon-allow-overlap': true, 'icon-ignore-placement': true },
    },
    {
      id: 'dots-quiet',
      minzoom,
      type: 'circle',
      source: 'checkpoints',
      filter: ['==', ['get', 'tone'], 'quiet'],
      paint: {
        'circle-radius': 4 * scale,
        'circle-color': COLOURS.ground,
        'circle-stroke-color': COLOURS.quiet,
        'circle-stroke-width': 1.8 * scale,
      },
    },
    {
      id: 'dots',
      minzoom,
      type: 'circle',
      source: 'checkpoints',
      filter: ['in', ['get', 'tone'], ['literal', ['free', 'slow', 'jam', 'unmeasured']]],
      layout: { 'circle-sort-key': ['get', 'flow'] },
      paint: {
        'circle-radius': ['interpolate', ['linear'], ['zoom'], 5, ['*', 0.45 * scale, DOT_SIZE], 9, ['*', 0.8 * scale, DOT_SIZE], 12, ['*', scale, DOT_SIZE]],
        'circle-color': TONE_COLOUR,
        'circle-opacity': 0.92,
        'circle-stroke-color': COLOURS.ground,
        'circle-stroke-width': 1.2 * scale,
      },
    },
    {
      id: 'dot-chosen',
      type: 'circle',
      source: 'checkpoints',
      filter: ['==', ['get', 'id'], -1],
      paint: {
        'circle-radius': 15 * scale,
        'circle-opacity': 0,
        'circle-stroke-color': COLOURS.text,
        'circle-stroke-width': 2 * scale,
      },
    },
  ];
}

/** Names and numbers; what stands later here takes its place first. */
function names(language: Language, scale: number): unknown[] {
  const shift = Math.log2(scale); // a larger interface has room for names only at a closer look
  return [
    {
      id: 'dot-names',
      type: 'symbol',
      source: 'checkpoints',
      minzoom: 10 + shift,
      layout: {
        'text-field': ['get', language === 'zh' ? 'name' : 'name_en'],
        'text-font': TEXT,
        'text-size': 12 * scale,
        'text-anchor': 'top',
        'text-offset': [0, 1.1],
        'text-max-width': 12,
      },
      paint: { 'text-color': '#b4c3d1', 'text-halo-color': COLOURS.ground, 'text-halo-width': 1.6 * scale },
    },
    {
      id: 'road-codes',
      type: 'symbol',
      source: 'roads',
      layout: {
        'symbol-placement': 'line',
        'symbol-spacing': 320 * scale,
        'text-field': ['get', 'code'],
        'text-font': BOLD,
        'text-size': ['interpolate', ['linear'], ['zoom'], 6, 9 * scale, 9, 11.5 * scale],
        'text-rotation-alignment': 'viewport',
        'icon-rotation-alignment': 'viewport',
        'icon-image': ['match', ['get', 'kind'], 'expressway', 'shield-expressway', 'shield-trunk'],
        'icon-text-fit': 'both',
        'icon-text-fit-padding': [1, 3, 1, 3],
      },
      paint: { 'text-color': '#d3dfe8', 'icon-opacity': 0.9 },
    },
    {
      id: 'dot-flow',
      type: 'symbol',
      source: 'checkpoints',
      minzoom: 9.4 + shift,
      filter: ['!=', ['get', 'label'], ''],
      layout: {
        'text-field': ['get', 'label'],
        'text-font': BOLD,
        'text-size': 13 * scale,
        'text-anchor': 'left',
        'text-offset': [1.3, 0], // beside the ring of an alert, too
        'symbol-sort-key': ['-', 0, ['get', 'flow']],
        'text-padding': 1,
      },
      paint: { 'text-color': COLOURS.text, 'text-halo-color': COLOURS.ground, 'text-halo-width': 1.8 * scale },
    },
    {
      id: 'division-names',
      type: 'symbol',
      source: 'division-names',
      filter: ['any', ['==', ['get', 'level'], 2], ['all', ['==', ['get', 'level'], 3], ['>=', ['zoom'], 7.4 + shift]]],
      layout: {
        'text-field': [
          'format',
          ['get', language === 'zh' ? 'name' : 'name_en'],
          {},
          ['coalesce', ['get', 'figure'], ''],
          { 'text-font': BOLD, 'text-color': COLOURS.text, 'font-scale': 1.1 },
        ],
        'text-font': TEXT,
        'text-size': ['match', ['get', 'level'], 2, 15 * scale, 12 * scale],
        'text-letter-spacing': 0.08,
        'symbol-sort-key': ['get', 'level'],
        'text-padding': 2 * scale,
        'text-max-width': 9,
      },
      paint: { 'text-color': COLOURS.name, 'text-halo-color': COLOURS.area, 'text-halo-width': 1.8 * scale },
    },
  ];
}

function marks(scale: number): unknown[] {
  const near = NEAR_ZOOM + Math.log2(scale);
  const notable = ['any', ['<=', ['get', 'level'], 2], ['>=', ['zoom'], near]]; // from afar the grave ones alone
  const ring = ['match', ['get', 'level'], 1, 14 * scale, 2, 11.5 * scale, 9.5 * scale];
  return [
    {
      id: 'trail-line',
      type: 'line',
      source: 'trail',
      filter: ['==', ['geometry-type'], 'LineString'],
      paint: { 'line-color': COLOURS.text, 'line-width': 2.4 * scale, 'line-dasharray': [2, 1.4] },
    },
    {
      id: 'trail-points',
      type: 'circle',
      source: 'trail',
      filter: ['==', ['geometry-type'], 'Point'],
      paint: {
        'circle-radius': ['case', ['get', 'last'], 22 * scale, 10 * scale],
        'circle-opacity': 0,
        'circle-stroke-color': COLOURS.text,
        'circle-stroke-width': 2.4 * scale,
      },
    },
    {
      id: 'place-mark',
      type: 'circle',
      source: 'place',
      paint: {
        'circle-radius': 9 * scale,
        'circle-opacity': 0,
        'circle-stroke-color': COLOURS.text,
        'circle-stroke-width': 2.4 * scale,
      },
    },
    {
      id: 'alert-rings',
      type: 'circle',
      source: 'alerts',
      filter: notable,
      layout: { 'circle-sort-key': ['-', 0, ['get', 'level']] },
      paint: {
        'circle-radius': ['interpolate', ['linear'], ['zoom'], near - 1.5, ['*', 0.5, ring], near, ['*', 0.7, ring], near + 2, ring],
        'circle-color': LEVEL_COLOUR,
        'circle-opacity': 0.14,
        'circle-stroke-color': LEVEL_COLOUR,
        'circle-stroke-width': ['match', ['get', 'level'], 1, 3.2 * scale, 2, 2.4 * scale, 1.8 * scale],
      },
    },
    {
      id: 'alert-marks',
      type: 'symbol',
      source: 'alerts',
      filter: notable,
      minzoom: near,
      layout: {
        'text-field': ['get', 'mark'],
        'text-font': BOLD,
        'text-size': ['match', ['get', 'level'], 1, 14 * scale, 11.5 * scale],
        'text-offset': [0, -1.7],
        'text-allow-overlap': true,
        'text-ignore-placement': true,
        'symbol-sort-key': ['-', 0, ['get', 'level']],
      },
      paint: { 'text-color': LEVEL_COLOUR, 'text-halo-color': COLOURS.ground, 'text-halo-width': 2 * scale },
    },
  ];
}

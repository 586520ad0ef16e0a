/** How the roads look: links side by side by direction, events, weather, sensors, objects, crews. `scale` as in style.ts. */
import type { Language } from '../words/index.svelte';
import { BOLD, COLOURS, DOTS_ZOOM, NEAR_ZOOM, TEXT } from './palette';

/** Levels 1..5 of the state: hue, lightness and width all grow with the level. */
export const STATE_COLOURS = ['#2f9e8f', '#9fb84a', '#f0b43c', '#f26a3d', '#e0306e'] as const;
/** Risk 1..4: the four colours of the field. */
export const RISK_COLOURS = ['#4a8fd6', '#f0d048', '#ff9a3c', '#ff4d4a'] as const;
export const HEALTH_COLOURS = { ok: '#7fb7b0', suspect: '#f0b43c', failed: '#ff6b63', silent: '#9aa6b2', unknown: '#7c8894' } as const;
export const EVENT_COLOURS = { congestion: '#f26a3d', incident: '#ff4d4a', weather: '#8fc7ff', works: '#ffb02e', sensor: '#a9b4bf' } as const;
const WIDTHS = [0.8, 0.92, 1.08, 1.26, 1.44];

const EVENT_MARKS: Record<Language, Record<string, string>> = {
  zh: { congestion: '拥', incident: '事', weather: '天', works: '施', sensor: '感' },
  en: { congestion: 'Q', incident: '!', weather: 'W', works: 'R', sensor: 'S' },
};
export const OBJECT_MARKS: Record<Language, Record<string, string>> = {
  zh: { toll_station: '收', service_area: '服', message_sign: '情', camera: '摄', interception_point: '拦', inspection_station: '检' },
  en: { toll_station: 'T', service_area: 'S', message_sign: 'V', camera: 'C', interception_point: 'I', inspection_station: 'X' },
};
export const VEHICLE_MARKS: Record<Language, Record<string, string>> = {
  zh: { tour_coach: '旅', scheduled_coach: '班', hazardous_goods: '危', heavy_truck: '货', minivan: '面', school_bus: '校' },
  en: { tour_coach: 'T', scheduled_coach: 'C', hazardous_goods: 'H', heavy_truck: 'G', minivan: 'M', school_bus: 'S' },
};

/** From which zoom an object is drawn: the rarer, the earlier. */
const OBJECT_ZOOM: Record<string, number> = {
  toll_station: 8.8,
  service_area: 8.8,
  inspection_station: 9.2,
  interception_point: 9.6,
  message_sign: 10.6,
  camera: 10.8,
};

type Style = unknown;
const INSET = { 'line-cap': 'butt', 'line-join': 'round' };

function byZoom(stops: [zoom: number, pixels: number][], scale: number, times = 1): Style {
  return ['interpolate', ['linear'], ['zoom'], ...stops.flatMap(([zoom, pixels]) => [zoom, pixels * scale * times])];
}

const LINK_WIDTH: [number, number][] = [[5, 1.7], [8, 3], [10, 4.2], [12, 6.5], [15, 11]];
const LINK_OFFSET: [number, number][] = [[5, 1.2], [8, 2.3], [10, 3.3], [12, 5.2], [15, 8.6]];
const SPAN_OFFSET: [number, number][] = [[5, 4.2], [8, 6.4], [10, 8.4], [12, 12], [15, 19]];

/** Links twice: hatched grey below, and over it one layer for each level, shown where the link has that level. */
function links(scale: number): Style[] {
  const shared = { type: 'line', source: 'links', layout: INSET };
  const level = ['coalesce', ['feature-state', 'level'], 0];
  return [
    {
      ...shared,
      id: 'link-casing',
      paint: { 'line-color': COLOURS.casing, 'line-width': byZoom(LINK_WIDTH, scale, 1.75), 'line-offset': byZoom(LINK_OFFSET, scale) },
    },
    {
      ...shared,
      id: 'link-unknown',
      paint: { 'line-pattern': 'hatch', 'line-width': byZoom(LINK_WIDTH, scale, 0.95), 'line-offset': byZoom(LINK_OFFSET, scale) },
    },
    ...STATE_COLOURS.map((colour, number) => ({
      ...shared,
      id: `link-${number + 1}`,
      paint: {
        'line-color': colour,
        'line-width': byZoom(LINK_WIDTH, scale, WIDTHS[number]),
        'line-offset': byZoom(LINK_OFFSET, scale),
        'line-opacity': ['case', ['==', level, number + 1], 1, 0],
      },
    })),
    {
      ...shared,
      id: 'link-chosen',
      filter: ['==', ['get', 'id'], -1],
      paint: { 'line-color': COLOURS.text, 'line-width': byZoom(LINK_WIDTH, scale, 0.5), 'line-offset': byZoom(LINK_OFFSET, scale) },
    },
  ];
}

const WEATHER_COLOUR = ['match', ['get', 'tone'], 'grave', '#d6e9ff', 'bad', '#8fc7ff', '#5d87b8'];

function weather(scale: number): Style[] {
  return [
    {
      id: 'weather-spans',
      type: 'line',
      source: 'weather',
      filter: ['==', ['geometry-type'], 'LineString'],
      layout: { 'line-cap': 'round', 'line-join': 'round' },
      paint: { 'line-color': WEATHER_COLOUR, 'line-width': byZoom([[5, 10], [8, 17], [10, 24], [12, 34]], scale), 'line-opacity': 0.26 },
    },
  ];
}

function spans(scale: number): Style[] {
  const colour = ['match', ['get', 'kind'], ...Object.entries(EVENT_COLOURS).flat(), EVENT_COLOURS.sensor];
  const shared = { type: 'line', source: 'events', layout: INSET };
  const span = (kinds: string[]) => ['all', ['==', ['geometry-type'], 'LineString'], ['in', ['get', 'kind'], ['literal', kinds]]];
  const faded = ['case', ['get', 'ended'], 0.35, 0.95];
  const width = byZoom([[5, 2], [8, 3.2], [10, 4.4], [12, 6]], scale);
  return [
    {
      ...shared,
      id: 'event-spans',
      filter: span(['congestion', 'incident', 'sensor']),
      paint: { 'line-color': colour, 'line-width': width, 'line-offset': byZoom(SPAN_OFFSET, scale), 'line-opacity': faded },
    },
    {
      ...shared,
      id: 'event-spans-dashed',
      filter: span(['works', 'weather']),
      paint: {
        'line-color': colour,
        'line-width': width,
        'line-offset': byZoom(SPAN_OFFSET, scale, 1.25),
        'line-dasharray': [1.6, 0.9],
        'line-opacity': ['case', ['get', 'ended'], 0.3, ['==', ['get', 'kind'], 'weather'], 0.45, 0.95],
      },
    },
  ];
}

function sensors(shift: number): Style[] {
  return [
    {
      id: 'detectors',
      type: 'symbol',
      source: 'detectors',
      minzoom: 9 + shift,
      layout: {
        'icon-image': ['concat', 'detector-', ['get', 'health']],
        'icon-allow-overlap': true,
        'icon-size': ['interpolate', ['linear'], ['zoom'], 9, 0.6, 12, 1],
        'symbol-sort-key': ['match', ['get', 'health'], 'ok', 0, 1],
      },
    },
    // what is not well is seen from afar, too
    {
      id: 'detectors-ill',
      type: 'symbol',
      source: 'detectors',
      minzoom: 7.6 + shift,
      maxzoom: 9 + shift,
      filter: ['==', ['get', 'health'], 'failed'],
      layout: { 'icon-image': 'detector-failed', 'icon-size': 0.6, 'icon-allow-overlap': true },
    },
  ];
}

function objects(language: Language, scale: number, shift: number): Style[] {
  return Object.entries(OBJECT_ZOOM).map(([kind, zoom]) => ({
    id: `object-${kind}`,
    type: 'symbol',
    source: 'objects',
    minzoom: zoom + shift,
    filter: ['==', ['get', 'kind'], kind],
    layout: {
      'icon-image': `object-${kind}`,
      'icon-size': ['interpolate', ['linear'], ['zoom'], 9, 0.82, 12, 1.1],
      'text-field': OBJECT_MARKS[language][kind] ?? '',
      'text-font': BOLD,
      'text-size': ['interpolate', ['linear'], ['zoom'], 9, 9.5 * scale, 12, 12 * scale],
      'icon-padding': 0,
      'text-padding': 0,
    },
    paint: { 'text-color': '#f2f6fa', 'icon-opacity': ['case', ['get', 'enabled'], 1, 0.4] },
  }));
}

function moving(language: Language, scale: number, shift: number): Style[] {
  const marks = Object.entries(VEHICLE_MARKS[language]).flat();
  return [
    {
      id: 'vehicles',
      type: 'symbol',
      source: 'vehicles',
      layout: {
        'icon-image': ['case', ['get', 'fresh'], 'vehicle', 'vehicle-old'],
        'icon-size': ['interpolate', ['linear'], ['zoom'], 6, 0.4, 7.9, 0.5, 8.1, 0.9, 12, 1.1],
        'text-field': ['step', ['zoom'], '', 8 + shift, ['match', ['get', 'kind'], ...marks, '?']],
        'text-font': BOLD,
        'text-size': 10 * scale,
        'icon-allow-overlap': true,
        'text-allow-overlap': true,
      },
      paint: { 'text-color': '#10161e' },
    },
    {
      id: 'crews',
      type: 'symbol',
      source: 'crews',
      layout: {
        'icon-image': ['case', ['get', 'fresh'], 'crew', 'crew-old'],
        'icon-rotate': ['get', 'bearing'],
        'icon-rotation-alignment': 'map',
        'icon-size': ['interpolate', ['linear'], ['zoom'], 6, 0.6, 9, 0.9, 12, 1.15],
        'icon-allow-overlap': true,
      },
    },
    {
      id: 'crew-codes',
      type: 'symbol',
      source: 'crews',
      minzoom: 10 + shift,
      layout: {
        'text-field': ['get', 'code'], 'text-font': BOLD, 'text-size': 11 * scale, 'text-anchor': 'top', 'text-offset': [0, 0.9],
      },
      paint: { 'text-color': '#cfe6ff', 'text-halo-color': COLOURS.ground, 'text-halo-width': 1.8 * scale },
    },
  ];
}

function signs(language: Language, scale: number, shift: number): Style[] {
  const near = NEAR_ZOOM + shift;
  const notable = ['any', ['<=', ['get', 'level'], 3], ['>=', ['zoom'], near]];
  const size = ['match', ['get', 'level'], 1, 1.2, 2, 1.05, 0.88];
  const letters = ['match', ['get', 'level'], 1, 15 * scale, 2, 13 * scale, 11 * scale];
  const growing = (full: Style) => ['interpolate', ['linear'], ['zoom'], near - 1.5, ['*', 0.65, full], near, ['*', 0.8, full], near + 2, full];
  const marks = Object.entries(EVENT_MARKS[language]).flat();
  const point = ['==', ['geometry-type'], 'Point'];
  const gravestFirst = ['get', 'level'];
  return [
    {
      id: 'event-signs',
      type: 'symbol',
      source: 'events',
      filter: ['all', point, notable],
      layout: {
        'icon-image': ['concat', 'event-', ['get', 'kind']],
        'icon-size': growing(size),
        'icon-allow-overlap': true,
        'text-field': ['match', ['get', 'kind'], ...marks, '?'],
        'text-font': BOLD,
        'text-size': growing(letters),
        'text-allow-overlap': true,
        'text-ignore-placement': true,
        'symbol-sort-key': ['-', 0, gravestFirst],
      },
      paint: { 'text-color': '#10161e', 'icon-opacity': ['case', ['get', 'ended'], 0.4, 1], 'text-opacity': ['case', ['get', 'ended'], 0.6, 1] },
    },
    {
      id: 'event-levels',
      type: 'symbol',
      source: 'events',
      minzoom: near,
      filter: ['all', point, ['!', ['get', 'ended']]],
      layout: {
        'text-field': ['get', 'mark'],
        'text-font': BOLD,
        'text-size': 11 * scale,
        'text-offset': [1.15, -0.95],
        'text-allow-overlap': true,
        'text-ignore-placement': true,
        'symbol-sort-key': ['-', 0, gravestFirst],
      },
      paint: { 'text-color': COLOURS.text, 'text-halo-color': COLOURS.ground, 'text-halo-width': 2 * scale },
    },
  ];
}

function labels(scale: number, shift: number): Style[] {
  const stake = (every: number, minzoom: number, maxzoom?: number): Style => ({
    id: `stakes-${every}`,
    type: 'symbol',
    source: 'stakes',
    minzoom: minzoom + shift,
    ...(maxzoom === undefined ? {} : { maxzoom: maxzoom + shift }),
    filter: ['>=', ['get', 'every'], every],
    layout: {
      'text-field': ['get', 'label'],
      'text-font': TEXT,
      'text-size': 10.5 * scale,
      'text-anchor': 'bottom-left',
      'text-offset': [0.7, -0.4],
      'symbol-sort-key': ['-', 0, ['get', 'every']],
      'text-padding': 3 * scale,
    },
    paint: { 'text-color': '#a9b9c8', 'text-halo-color': COLOURS.ground, 'text-halo-width': 1.6 * scale },
  });
  return [stake(50, 7.4, 8.8), stake(10, 8.8, 11.4), stake(1, 11.4)];
}

function levelNumbers(scale: number, shift: number): Style[] {
  return [
    {
      id: 'link-marks',
      type: 'symbol',
      source: 'link-marks',
      minzoom: 7 + shift,
      layout: {
        'icon-image': 'chip',
        'icon-text-fit': 'both',
        'icon-text-fit-padding': [0, 2, 0, 2],
        'text-field': ['get', 'mark'],
        'text-font': BOLD,
        'text-size': 10.5 * scale,
        'symbol-sort-key': ['-', 0, ['get', 'level']],
      },
      paint: { 'text-color': COLOURS.text },
    },
    {
      id: 'weather-labels',
      type: 'symbol',
      source: 'weather',
      minzoom: 7 + shift,
      filter: ['==', ['geometry-type'], 'Point'],
      layout: {
        'text-field': ['get', 'label'], 'text-font': BOLD, 'text-size': 11.5 * scale, 'text-offset': [0, 1.6], 'text-max-width': 9,
      },
      paint: { 'text-color': '#cfe6ff', 'text-halo-color': '#14202c', 'text-halo-width': 2 * scale },
    },
  ];
}

export interface RoadStyles {
  below: Style[]; // under checkpoints and names
  above: Style[];
}

/** `shift`: a larger interface has room for small things only at a closer look. */
export function roadLayers(language: Language, scale: number): RoadStyles {
  const shift = Math.log2(scale);
  return {
    below: [...weather(scale), ...links(scale), ...spans(scale), ...sensors(shift), ...objects(language, scale, shift)],
    above: [...labels(scale, shift), ...levelNumbers(scale, shift), ...moving(language, scale, shift), ...signs(language, scale, shift)],
  };
}

/** Which layers of the style a switch of the map turns on and off. */
export const SWITCHED: Record<string, (id: string) => boolean> = {
  links: (id) => id.startsWith('link-'),
  events: (id) => id.startsWith('event-'),
  weather: (id) => id.startsWith('weather-'),
  checkpoints: (id) => id.startsWith('dot'),
  detectors: (id) => id.startsWith('detectors'),
  objects: (id) => id.startsWith('object-'),
  crews: (id) => id.startsWith('crew'),
  vehicles: (id) => id === 'vehicles',
  alerts: (id) => id.startsWith('alert-') || id.startsWith('trail'),
  labels: (id) => id.startsWith('stakes-') || id === 'road-codes' || id === 'division-names' || id === 'dot-names',
};

/** The lowest zoom at which each switch shows something, for the words "come nearer". */
export function nearestZoom(layer: string, scale: number): number {
  const shift = Math.log2(scale);
  if (layer === 'detectors') return 9 + shift;
  if (layer === 'checkpoints') return DOTS_ZOOM + shift;
  if (layer === 'objects') return Math.min(...Object.values(OBJECT_ZOOM)) + shift;
  return 0;
}

/** A map beside a page: what a finding, a track, a fence or a dry run is about. The live map stays as it is. */
import { Map as MapLibre, setWorkerUrl, type GeoJSONSource, type LayerSpecification, type LngLatBoundsLike } from 'maplibre-gl';
import workerUrl from 'maplibre-gl/dist/maplibre-gl-worker.mjs?url';
import { boxOf, type Point } from '../lib/geometry';
import type { Area, Bounds } from '../lib/types';
import type { Language } from '../words/index.svelte';
import { divisionNames, fitting } from './features';
import { shield } from './images';
import { BOLD, COLOURS, FONTS, TEXT } from './palette';
import { layers } from './style';

setWorkerUrl(workerUrl);

const GROUND = ['divisions', 'roads', 'division-names'] as const;
const STORY = ['areas', 'ways', 'spots'] as const;
const PADDING_PX = 46;
const NEAREST_ZOOM = 12;

export interface Spot {
  id: string;
  lon: number;
  lat: number;
  label: string; // inside or above the dot: its number in the order of time
  tone: 'seen' | 'last' | 'count';
  size?: number; // 0..1, of a count
}
export interface Way {
  path: Point[];
  tone: 'way' | 'usual' | 'road';
}
export interface Field {
  id: string;
  ring: Point[];
  tone: 'forbidden' | 'parking' | 'place' | 'draft';
  label: string;
}
export interface Story {
  spots: Spot[];
  ways: Way[];
  fields: Field[];
}
export const NO_STORY: Story = { spots: [], ways: [], fields: [] };

export interface StoryEvents {
  spotPicked: (id: string) => void;
  pointPicked: (lon: number, lat: number) => void;
  idle: () => void;
}

export class StoryMap {
  private readonly map: MapLibre;
  private ready = false;
  private story: Story = NO_STORY;
  private picked = '';
  private box: Bounds | null = null;

  constructor(
    container: HTMLElement,
    private readonly area: Area,
    private language: Language,
    private readonly events: StoryEvents,
  ) {
    const sources = Object.fromEntries(
      [...GROUND, ...STORY].map((name) => [name, { type: 'geojson' as const, data: nothing(), tolerance: 0.2 }]),
    );
    this.map = new MapLibre({
      container,
      style: { version: 8, sources, layers: [{ id: 'ground', type: 'background', paint: { 'background-color': COLOURS.ground } }] },
      bounds: fitting(area.bounds) as LngLatBoundsLike,
      fitBoundsOptions: { padding: PADDING_PX },
      maxZoom: 16,
      attributionControl: false,
      dragRotate: false,
      pitchWithRotate: false,
      touchPitch: false,
      renderWorldCopies: false,
      fadeDuration: 0,
      localIdeographFontFamily: FONTS,
    });
    this.map.touchZoomRotate.disableRotation();
    this.map.keyboard.disableRotation();
    this.map.on('load', () => this.dress());
    this.map.on('idle', () => {
      if (this.ready) events.idle();
    });
    this.map.on('click', (event) => this.clicked(event.point, event.lngLat));
  }

  show(story: Story): void {
    this.story = story;
    this.draw();
  }

  /** Mark one spot. */
  pick(id: string): void {
    this.picked = id;
    if (this.ready) this.map.setFilter('spot-picked', ['==', ['get', 'id'], id]);
  }

  /** Look at all that is shown; at the whole area where nothing is. */
  fit(): void {
    const points: Point[] = [
      ...this.story.spots.map((spot): Point => [spot.lon, spot.lat]),
      ...this.story.ways.flatMap((way) => way.path),
      ...this.story.fields.flatMap((field) => field.ring),
    ];
    this.box = boxOf(points) ?? this.area.bounds;
    this.map.fitBounds(fitting(this.box) as LngLatBoundsLike, { padding: PADDING_PX, maxZoom: NEAREST_ZOOM, animate: false });
  }

  zoom(steps: number): void {
    this.map.easeTo({ zoom: this.map.getZoom() + steps, animate: false });
  }

  resize(): void {
    this.map.resize();
  }

  remove(): void {
    this.map.remove();
  }

  private dress(): void {
    for (const [name, fill, rim] of [
      ['shield-expressway', [22, 74, 56], [60, 128, 103]],
      ['shield-trunk', [40, 50, 62], [84, 100, 118]],
    ] as const) {
      const { picture, options } = shield([...fill], [...rim]);
      this.map.addImage(name, picture, options);
    }
    const scale = parseFloat(getComputedStyle(document.documentElement).fontSize) / 16;
    const ground = layers(this.language, scale).filter((layer) => 'source' in layer && (GROUND as readonly string[]).includes(layer.source));
    for (const layer of [...ground, ...storyLayers(scale)]) this.map.addLayer(layer);
    this.data('divisions', this.area.divisions);
    this.data('roads', this.area.roads);
    this.data('division-names', divisionNames(this.area));
    this.ready = true;
    this.draw();
    this.pick(this.picked);
  }

  private draw(): void {
    if (!this.ready) return;
    const { spots, ways, fields } = this.story;
    this.data('spots', collection(spots.map(({ lon, lat, ...facts }) => feature({ type: 'Point', coordinates: [lon, lat] }, { size: 0, ...facts }))));
    this.data('ways', collection(ways.filter((way) => way.path.length > 1).map((way) => feature({ type: 'LineString', coordinates: way.path }, { tone: way.tone }))));
    this.data('areas', collection(fields.filter((field) => field.ring.length > 0).map((field) => feature(shapeOf(field.ring), { id: field.id, tone: field.tone, label: field.label }))));
  }

  private data(source: string, data: GeoJSON.FeatureCollection): void {
    void this.map.getSource<GeoJSONSource>(source)?.setData(data);
  }

  private clicked(point: { x: number; y: number }, at: { lng: number; lat: number }): void {
    if (!this.ready) return;
    const reach = 8;
    const hit = this.map.queryRenderedFeatures(
      [
        [point.x - reach, point.y - reach],
        [point.x + reach, point.y + reach],
      ],
      { layers: ['spots'] },
    )[0];
    if (hit) this.events.spotPicked(String(hit.properties['id']));
    else this.events.pointPicked(at.lng, at.lat);
  }
}

function storyLayers(scale: number): LayerSpecification[] {
  const field = ['match', ['get', 'tone'], 'forbidden', '#ff6b63', 'parking', '#46a99a', 'draft', '#e8eef4', '#b48ce8'];
  const spot = ['match', ['get', 'tone'], 'last', '#ff9a3c', 'count', '#ff9a3c', '#6db3e8'];
  return [
    { id: 'area-fill', type: 'fill', source: 'areas', filter: ['==', ['geometry-type'], 'Polygon'], paint: { 'fill-color': field, 'fill-opacity': 0.18 } },
    { id: 'area-line', type: 'line', source: 'areas', paint: { 'line-color': field, 'line-width': 2.2 * scale } },
    {
      id: 'ways', type: 'line', source: 'ways', filter: ['!=', ['get', 'tone'], 'usual'],
      layout: { 'line-cap': 'round', 'line-join': 'round' },
      paint: { 'line-color': ['match', ['get', 'tone'], 'road', '#ff9a3c', COLOURS.text], 'line-width': 3 * scale, 'line-opacity': 0.85 },
    },
    {
      id: 'ways-usual', type: 'line', source: 'ways', filter: ['==', ['get', 'tone'], 'usual'],
      paint: { 'line-color': '#7fb7e8', 'line-width': 2.2 * scale, 'line-dasharray': [2, 1.6] },
    },
    {
      id: 'spots', type: 'circle', source: 'spots',
      paint: {
        'circle-radius': ['case', ['==', ['get', 'tone'], 'count'], ['*', scale, ['+', 5, ['*', 18, ['sqrt', ['get', 'size']]]]], ['*', scale, ['+', 8, ['*', 2.6, ['length', ['get', 'label']]]]]],
        'circle-color': spot,
        'circle-opacity': ['match', ['get', 'tone'], 'count', 0.55, 0.95],
        'circle-stroke-color': COLOURS.ground,
        'circle-stroke-width': 1.6 * scale,
      },
    },
    {
      id: 'spot-picked', type: 'circle', source: 'spots', filter: ['==', ['get', 'id'], ''],
      paint: { 'circle-radius': 15 * scale, 'circle-opacity': 0, 'circle-stroke-color': COLOURS.text, 'circle-stroke-width': 2.6 * scale },
    },
    {
      id: 'spot-labels', type: 'symbol', source: 'spots',
      layout: {
        'text-field': ['get', 'label'], 'text-font': BOLD, 'text-size': 12.5 * scale,
        'text-allow-overlap': false, 'text-ignore-placement': true, 'text-padding': 0,
      },
      paint: { 'text-color': '#081018' },
    },
    {
      id: 'area-labels', type: 'symbol', source: 'areas',
      layout: { 'text-field': ['get', 'label'], 'text-font': TEXT, 'text-size': 13 * scale, 'text-max-width': 10 },
      paint: { 'text-color': COLOURS.text, 'text-halo-color': COLOURS.ground, 'text-halo-width': 1.8 * scale },
    },
  ] as LayerSpecification[];
}

function shapeOf(ring: Point[]): GeoJSON.Geometry {
  const [first] = ring;
  if (ring.length === 1 && first) return { type: 'Point', coordinates: first };
  if (ring.length === 2) return { type: 'LineString', coordinates: ring };
  return { type: 'Polygon', coordinates: [first ? [...ring, first] : ring] };
}

function feature(geometry: GeoJSON.Geometry, properties: Record<string, unknown>): GeoJSON.Feature {
  return { type: 'Feature', geometry, properties };
}

function collection(features: GeoJSON.Feature[]): GeoJSON.FeatureCollection {
  return { type: 'FeatureCollection', features };
}

function nothing(): GeoJSON.FeatureCollection {
  return collection([]);
}

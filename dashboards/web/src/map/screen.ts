/** The map on the screen: MapLibre with our layers; knows no store, is told what to show. */
import { Map as MapLibre, setWorkerUrl, type GeoJSONSource, type LngLatBoundsLike } from 'maplibre-gl';
import workerUrl from 'maplibre-gl/dist/maplibre-gl-worker.mjs?url';
import type { Bounds } from '../lib/types';
import type { Language } from '../words/index.svelte';
import { fitting } from './features';
import { hatch, shield, sign, unknownDot, type Shape } from './images';
import { EVENT_COLOURS, HEALTH_COLOURS, RISK_COLOURS, STATE_COLOURS, SWITCHED } from './roadstyle';
import { FONTS } from './palette';
import { emptyStyle, layers, type Source } from './style';

setWorkerUrl(workerUrl); // the bundler doesn't emit the worker by itself, and without it the map stays blank

const PADDING_REM = { top: 2.2, right: 2.2, bottom: 2.2, left: 4 }; // the buttons stand at the left
const CLICK_REACH_PX = 8;
const PATIENCE_MS = 3_000; // changes wait for the map to finish drawing, but no longer than this
/** What may be picked, the foremost first; links come last, since they are everywhere. */
const CLICKABLE: [layer: string, kind: Picked['kind']][] = [
  ['event-signs', 'event'],
  ['alert-rings', 'alert'],
  ['crews', 'crew'],
  ['vehicles', 'vehicle'],
  ['dots', 'checkpoint'],
  ['dots-quiet', 'checkpoint'],
  ['dots-unknown', 'checkpoint'],
  ['object-toll_station', 'object'],
  ['object-service_area', 'object'],
  ['object-inspection_station', 'object'],
  ['object-interception_point', 'object'],
  ['object-message_sign', 'object'],
  ['object-camera', 'object'],
  ['detectors', 'detector'],
  ['detectors-ill', 'detector'],
  ['event-spans', 'event'],
  ['event-spans-dashed', 'event'],
  ['link-unknown', 'link'],
];

export interface Picked {
  kind: 'event' | 'alert' | 'crew' | 'vehicle' | 'checkpoint' | 'object' | 'detector' | 'link';
  id: string | number;
}

export interface MapEvents {
  moved: (bounds: Bounds, zoom: number) => void;
  picked: (thing: Picked, lon: number, lat: number) => void;
  pointPicked: (lon: number, lat: number) => void;
  idle: () => void;
}

export class ScreenMap {
  private readonly map: MapLibre;
  private scale: number;
  private language: Language;
  private ready = false;
  private busy = true;
  private waiting = new Map<Source, GeoJSON.FeatureCollection>();
  private impatient: ReturnType<typeof setTimeout> | undefined;
  private chosen = -1;
  private chosenLink = -1;
  private levels = new Map<number, number>();
  private colours: readonly string[] = STATE_COLOURS;
  private hidden: ReadonlySet<string> = new Set();
  private rightRem = 0; // what a panel covers

  constructor(container: HTMLElement, bounds: Bounds, language: Language, events: MapEvents) {
    this.scale = interfaceScale();
    this.language = language;
    this.map = new MapLibre({
      container,
      style: emptyStyle(),
      bounds: fitting(bounds) as LngLatBoundsLike,
      fitBoundsOptions: { padding: this.padding() },
      maxBounds: around(bounds),
      maxZoom: 16,
      attributionControl: false,
      dragRotate: false,
      pitchWithRotate: false,
      touchPitch: false,
      renderWorldCopies: false,
      fadeDuration: calm() ? 0 : 150,
      localIdeographFontFamily: FONTS,
    });
    this.map.touchZoomRotate.disableRotation();
    this.map.keyboard.disableRotation();
    this.map.on('load', () => this.dress());
    this.map.on('moveend', () => events.moved(this.bounds(), this.map.getZoom()));
    this.map.on('idle', () => {
      if (!this.ready) return;
      this.busy = false;
      this.flush();
      events.idle();
    });
    this.listen(events);
  }

  /** Replace what a source shows. A slow machine gets the newest when it has drawn the last, never a backlog. */
  show(source: Source, data: GeoJSON.FeatureCollection): void {
    this.waiting.set(source, data);
    if (!this.ready) return;
    if (!this.busy) this.flush();
    else this.impatient ??= setTimeout(() => this.flush(), PATIENCE_MS);
  }

  private flush(): void {
    clearTimeout(this.impatient);
    this.impatient = undefined;
    for (const [source, data] of this.waiting) {
      this.busy = true;
      void this.map.getSource<GeoJSONSource>(source)?.setData(data);
    }
    this.waiting.clear();
  }

  choose(checkpoint: number | null): void {
    this.chosen = checkpoint ?? -1;
    if (this.ready) this.map.setFilter('dot-chosen', ['==', ['get', 'id'], this.chosen]);
  }

  chooseLink(link: number | null): void {
    this.chosenLink = link ?? -1;
    if (this.ready) this.map.setFilter('link-chosen', ['==', ['get', 'id'], this.chosenLink]);
  }

  /** Levels of the links; those not named are unknown. Only what changed is told to the map. */
  paint(levels: ReadonlyMap<number, number>, colouring: 'state' | 'risk' | 'next' | 'none'): void {
    const colours = colouring === 'risk' || colouring === 'next' ? RISK_COLOURS : STATE_COLOURS;
    if (colours !== this.colours) {
      this.colours = colours;
      this.colourLinks();
    }
    if (this.ready)
      for (const [id, level] of levels)
        if (this.levels.get(id) !== level) this.map.setFeatureState({ source: 'links', id }, { level });
    this.levels = new Map(levels);
  }

  private colourLinks(): void {
    if (!this.ready) return;
    STATE_COLOURS.forEach((_, number) => {
      this.map.setPaintProperty(`link-${number + 1}`, 'line-color', this.colours[number] ?? this.colours.at(-1));
    });
  }

  /** Switches that are off. */
  hide(groups: ReadonlySet<string>): void {
    this.hidden = groups;
    if (!this.ready) return;
    for (const { id } of layers(this.language, this.scale)) {
      const off = [...groups].some((group) => SWITCHED[group]?.(id));
      this.map.setLayoutProperty(id, 'visibility', off ? 'none' : 'visible');
    }
  }

  /** A panel covers so much of the right side: what is flown to lands beside it. */
  cover(rem: number): void {
    this.rightRem = rem;
  }

  speak(language: Language): void {
    this.language = language;
    this.restyle();
  }

  /** The window changed: sizes follow the interface's. */
  resize(): void {
    this.scale = interfaceScale();
    this.map.resize();
    this.restyle();
  }

  centre(lon: number, lat: number, least = 9.2): void {
    const zoom = Math.max(this.map.getZoom(), least + Math.log2(this.scale));
    const padding = { top: 0, left: 0, bottom: 0, right: this.rightRem * 16 * this.scale };
    this.map.easeTo({ center: [lon, lat], zoom, padding, animate: !calm(), duration: 700 });
  }

  home(bounds: Bounds): void {
    this.map.setPadding({ top: 0, left: 0, bottom: 0, right: 0 });
    this.map.fitBounds(fitting(bounds) as LngLatBoundsLike, { padding: this.padding(), animate: !calm(), duration: 700 });
  }

  get zoomLevel(): number {
    return this.map.getZoom();
  }

  get size(): number {
    return this.scale;
  }

  zoom(steps: number): void {
    this.map.easeTo({ zoom: this.map.getZoom() + steps, animate: !calm(), duration: 250 });
  }

  bounds(): Bounds {
    const bounds = this.map.getBounds();
    return [bounds.getWest(), bounds.getSouth(), bounds.getEast(), bounds.getNorth()];
  }

  remove(): void {
    clearTimeout(this.impatient);
    this.map.remove();
  }

  private dress(): void {
    this.map.addImage('shield-expressway', ...shieldFor([22, 74, 56], [60, 128, 103]));
    this.map.addImage('shield-trunk', ...shieldFor([40, 50, 62], [84, 100, 118]));
    this.map.addImage('chip', ...shieldFor([20, 27, 35], [110, 126, 142]));
    this.drawSigns();
    for (const layer of layers(this.language, this.scale)) this.map.addLayer(layer);
    this.ready = true;
    this.flush();
    this.choose(this.chosen < 0 ? null : this.chosen);
    this.chooseLink(this.chosenLink < 0 ? null : this.chosenLink);
    for (const [id, level] of this.levels) this.map.setFeatureState({ source: 'links', id }, { level });
    this.colourLinks();
    this.hide(this.hidden);
  }

  private drawSigns(): void {
    this.drawUnknown();
    this.draw('hatch', hatch(5 * this.scale));
    this.draw('hatch-area', hatch(9 * this.scale));
    for (const [health, colour] of Object.entries(HEALTH_COLOURS)) {
      const shape: Shape = health === 'failed' ? 'diamond' : health === 'suspect' ? 'triangle' : 'square';
      this.draw(`detector-${health}`, sign(shape, (health === 'ok' ? 4 : 6) * this.scale, colour, '#0b1016', health === 'silent' || health === 'unknown'));
    }
    for (const [kind, colour] of Object.entries(EVENT_COLOURS)) {
      const shape: Shape = kind === 'incident' ? 'octagon' : kind === 'weather' ? 'circle' : kind === 'works' ? 'diamond' : 'square';
      this.draw(`event-${kind}`, sign(shape, (kind === 'works' ? 13 : 11) * this.scale, colour, '#0b1016'));
    }
    for (const [kind, colour] of Object.entries(OBJECT_COLOURS)) this.draw(`object-${kind}`, sign('square', 8.5 * this.scale, colour, '#8fa3b5'));
    this.draw('crew', sign('arrow', 9 * this.scale, '#59b2ff', '#f2f8ff'));
    this.draw('crew-old', sign('arrow', 9 * this.scale, '#8795a3', '#8795a3', true));
    this.draw('vehicle', sign('circle', 8.5 * this.scale, '#d9c6ff', '#2a1f40'));
    this.draw('vehicle-old', sign('circle', 8.5 * this.scale, '#8b80a0', '#2a1f40', true));
  }

  private draw(name: string, { picture, pixelRatio }: { picture: { width: number; height: number; data: Uint8ClampedArray }; pixelRatio: number }): void {
    if (this.map.hasImage(name)) this.map.removeImage(name);
    this.map.addImage(name, picture, { pixelRatio });
  }

  private drawUnknown(): void {
    this.draw('unknown', unknownDot(5 * this.scale));
  }

  private restyle(): void {
    if (!this.ready) return;
    this.drawSigns();
    for (const layer of layers(this.language, this.scale)) {
      const all = layer as { id: string; layout?: Record<string, unknown>; paint?: Record<string, unknown> };
      this.map.setLayerZoomRange(layer.id, layer.minzoom ?? 0, layer.maxzoom ?? 24);
      if (layer.id === 'division-names' && 'filter' in layer) this.map.setFilter(layer.id, layer.filter);
      for (const [name, value] of Object.entries(all.layout ?? {})) this.map.setLayoutProperty(all.id, name as never, value as never);
      for (const [name, value] of Object.entries(all.paint ?? {})) this.map.setPaintProperty(all.id, name as never, value as never);
    }
    this.colourLinks();
  }

  private listen(events: MapEvents): void {
    this.map.on('click', (event) => {
      const reach = CLICK_REACH_PX * this.scale;
      const { x, y } = event.point;
      const box: [[number, number], [number, number]] = [
        [x - reach, y - reach],
        [x + reach, y + reach],
      ];
      if (!this.ready) return;
      const hits = this.map.queryRenderedFeatures(box, { layers: CLICKABLE.map(([layer]) => layer) });
      for (const [layer, kind] of CLICKABLE) {
        const hit = hits.find((one) => one.layer.id === layer);
        if (hit) return events.picked({ kind, id: hit.properties['id'] as string | number }, event.lngLat.lng, event.lngLat.lat);
      }
      events.pointPicked(event.lngLat.lng, event.lngLat.lat);
    });
    for (const [layer] of CLICKABLE) {
      this.map.on('mouseenter', layer, () => this.point('pointer'));
      this.map.on('mouseleave', layer, () => this.point(''));
    }
  }

  private point(cursor: string): void {
    this.map.getCanvas().style.cursor = cursor;
  }

  private padding(): { top: number; right: number; bottom: number; left: number } {
    const px = 16 * this.scale;
    const { top, right, bottom, left } = PADDING_REM;
    return { top: top * px, right: right * px, bottom: bottom * px, left: left * px };
  }
}

const OBJECT_COLOURS = {
  toll_station: '#2f6b3c',
  service_area: '#1f5f8f',
  message_sign: '#5a4a1f',
  camera: '#3a4654',
  interception_point: '#7a2f5e',
  inspection_station: '#7a2f2f',
} as const;

function shieldFor(fill: [number, number, number], rim: [number, number, number]) {
  const { picture, options } = shield(fill, rim);
  return [picture, options] as const;
}

function interfaceScale(): number {
  return parseFloat(getComputedStyle(document.documentElement).fontSize) / 16;
}

function calm(): boolean {
  return matchMedia('(prefers-reduced-motion: reduce)').matches;
}

/** The area with as much again around it: nobody gets lost outside. */
function around(bounds: Bounds): LngLatBoundsLike {
  const [west, south, east, north] = fitting(bounds);
  const dx = Math.max(east - west, 1.5);
  const dy = Math.max(north - south, 1);
  return [west - dx, Math.max(-80, south - dy), east + dx, Math.min(80, north + dy)];
}

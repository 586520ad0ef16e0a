/** The map on the screen: MapLibre with our layers; knows no store, is told what to show. */
import { Map as MapLibre, setWorkerUrl, type GeoJSONSource, type LngLatBoundsLike } from 'maplibre-gl';
import workerUrl from 'maplibre-gl/dist/maplibre-gl-worker.mjs?url';
import type { Bounds } from '../lib/types';
import type { Language } from '../words/index.svelte';
import { fitting } from './features';
import { shield, unknownDot } from './images';
import { emptyStyle, FONTS, layers, type Source } from './style';

setWorkerUrl(workerUrl); // the bundler doesn't emit the worker by itself, and without it the map stays blank

const PADDING_REM = { top: 2.2, right: 2.2, bottom: 2.2, left: 4 }; // the buttons stand at the left
const CLICK_REACH_PX = 8;
const PATIENCE_MS = 3_000; // changes wait for the map to finish drawing, but no longer than this
const CLICKABLE = ['alert-rings', 'dots', 'dots-quiet', 'dots-unknown'];

export interface MapEvents {
  moved: (bounds: Bounds) => void;
  checkpointPicked: (id: number) => void;
  alertPicked: (id: string) => void;
  nothingPicked: () => void;
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

  constructor(container: HTMLElement, bounds: Bounds, language: Language, events: MapEvents) {
    this.scale = interfaceScale();
    this.language = language;
    this.map = new MapLibre({
      container,
      style: emptyStyle(),
      bounds: fitting(bounds) as LngLatBoundsLike,
      fitBoundsOptions: { padding: this.padding() },
      maxBounds: around(bounds),
      maxZoom: 15,
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
    this.map.on('moveend', () => events.moved(this.bounds()));
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

  centre(lon: number, lat: number): void {
    const zoom = Math.max(this.map.getZoom(), 9.2);
    this.map.easeTo({ center: [lon, lat], zoom, animate: !calm(), duration: 700 });
  }

  home(bounds: Bounds): void {
    this.map.fitBounds(fitting(bounds) as LngLatBoundsLike, { padding: this.padding(), animate: !calm(), duration: 700 });
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
    this.drawUnknown();
    for (const layer of layers(this.language, this.scale)) this.map.addLayer(layer);
    this.ready = true;
    this.flush();
    this.choose(this.chosen < 0 ? null : this.chosen);
  }

  private drawUnknown(): void {
    const { picture, pixelRatio } = unknownDot(6 * this.scale);
    if (this.map.hasImage('unknown')) this.map.removeImage('unknown');
    this.map.addImage('unknown', picture, { pixelRatio });
  }

  private restyle(): void {
    if (!this.ready) return;
    this.drawUnknown();
    for (const layer of layers(this.language, this.scale)) {
      const all = layer as { id: string; layout?: Record<string, unknown>; paint?: Record<string, unknown> };
      this.map.setLayerZoomRange(layer.id, layer.minzoom ?? 0, layer.maxzoom ?? 24);
      if (layer.id === 'division-names' && 'filter' in layer) this.map.setFilter(layer.id, layer.filter);
      for (const [name, value] of Object.entries(all.layout ?? {})) this.map.setLayoutProperty(all.id, name as never, value as never);
      for (const [name, value] of Object.entries(all.paint ?? {})) this.map.setPaintProperty(all.id, name as never, value as never);
    }
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
      const hit = this.map.queryRenderedFeatures(box, { layers: CLICKABLE })[0];
      if (!hit) events.nothingPicked();
      else if (hit.layer.id === 'alert-rings') events.alertPicked(String(hit.properties['id']));
      else events.checkpointPicked(Number(hit.properties['id']));
    });
    for (const layer of CLICKABLE) {
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

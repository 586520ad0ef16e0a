/** Why a layer shows nothing: no word of it yet, what feeds it stands still, none now, none in this area, or too far away. */
import { nearestZoom } from '../map/roadstyle';
import { t, type Word } from '../words/index.svelte';
import type { Layer } from './layers.svelte';
import { layers } from './layers.svelte';
import { live } from './live.svelte';
import { picture } from './picture.svelte';
import { sensorHealth, weather } from './standing.svelte';

export type Reason = 'some' | 'off' | 'dark' | 'stopped' | 'waiting' | 'failed' | 'nodata' | 'nothere' | 'none' | 'nearer';

interface Why {
  reason: Reason;
  text: string;
}

function said(reason: Reason, n = 0): Why {
  return { reason, text: reason === 'some' ? t('why.some', { n }) : t(`why.${reason}` as Word) };
}

/** What stands in the way of all that the monitor tells. */
function monitored(known: boolean): Reason | null {
  if (live.dark) return 'dark';
  if (picture.monitorStopped) return 'stopped';
  if (!known) return 'waiting';
  return picture.cycleAt === null ? 'nodata' : null;
}

function counted(n: number, none: Reason, blocked: Reason | null): Why {
  if (blocked !== null) return said(blocked);
  return n > 0 ? said('some', n) : said(none);
}

export function whyEmpty(layer: 'links' | Layer, zoom: number, scale: number): Why {
  if (layer === 'links' ? layers.colouring === 'none' : !layers.isOn(layer)) return said('off');
  const near = zoom >= nearestZoom(layer, scale);
  switch (layer) {
    case 'links':
      return linksWhy();
    case 'events': {
      const open = picture.shownEvents.filter((event) => event.state === 'open').length;
      return counted(open, 'none', monitored(picture.eventsKnown));
    }
    case 'weather': {
      if (live.dark) return said('dark');
      if (weather.value === null) return said(weather.error ? 'failed' : 'waiting');
      return counted(weather.value.length, 'nodata', null);
    }
    case 'checkpoints': {
      const n = live.area?.checkpoints.length ?? 0;
      return n === 0 ? said('nothere') : near ? said('some', n) : said('nearer');
    }
    case 'detectors': {
      const n = live.area?.detectors.length ?? 0;
      if (n === 0) return said('nothere');
      if (!near) return said('nearer');
      return sensorHealth.value === null ? said(sensorHealth.error ? 'failed' : 'waiting') : said('some', n);
    }
    case 'objects': {
      const n = live.area?.objects.length ?? 0;
      return n === 0 ? said('nothere') : near ? said('some', n) : said('nearer');
    }
    case 'crews': {
      void picture.unitVersion;
      if ((live.area?.crews.length ?? 0) === 0 && picture.crews.size === 0) return said('nothere');
      return counted(picture.crews.size, 'nodata', live.dark ? 'dark' : picture.unitsKnown ? null : 'waiting');
    }
    case 'vehicles':
      void picture.unitVersion;
      return counted(picture.vehicles.size, 'none', live.dark ? 'dark' : picture.unitsKnown ? null : 'waiting');
    case 'alerts':
      return counted([...live.alerts.values()].filter((alert) => alert.state === 'active').length, 'none', live.dark ? 'dark' : live.alertsKnown ? null : 'waiting');
    case 'labels':
      return said('some', live.area?.roads.features.length ?? 0);
  }
}

function linksWhy(): Why {
  void picture.linkVersion;
  const all = live.area?.links.features ?? [];
  if (all.length === 0) return said('nothere');
  const blocked = monitored(picture.linksKnown);
  if (blocked !== null) return said(blocked);
  const known = all.filter((link) => picture.state(link.properties.id).level > 0).length;
  return known === 0 ? said('nodata') : { reason: 'some', text: t('why.links', { n: known, all: all.length }) };
}

/** Which pages a person's rights open: a page opens where any of its actions is held. Pure. */
import type { Action } from './rights.svelte';
import { PAGES, type PageName } from './route.svelte';

const OPENED_BY: Record<PageName, Action[]> = {
  live: [],
  findings: [],
  vehicles: ['read_registry', 'import_registry'],
  rules: ['read_rules'],
  tracks: ['look_up'],
  devices: ['read_devices', 'tend_quarantine'],
};

export function mayOpen(page: PageName, may: (action: Action) => boolean): boolean {
  return OPENED_BY[page].length === 0 || OPENED_BY[page].some(may);
}

export function pagesOf(may: (action: Action) => boolean): PageName[] {
  return PAGES.filter((page) => mayOpen(page, may));
}

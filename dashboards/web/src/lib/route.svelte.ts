/** Which page is open: kept behind the # of the address, so that back, reload and bookmarks work and the connection stays. */

export const PAGES = ['live', 'findings', 'vehicles', 'rules', 'tracks', 'devices'] as const;
export type PageName = (typeof PAGES)[number];

export interface Place {
  page: PageName;
  parts: string[]; // what of the page: #/rules/6/versions -> ['6', 'versions']
}

/** The place that a hash names; the live picture where it names none. Pure. */
export function readHash(hash: string): Place {
  const [page = '', ...parts] = hash.replace(/^#\/?/, '').split('/').map(decoded);
  const known = PAGES.find((one) => one === page);
  return known ? { page: known, parts: parts.filter((part) => part !== '') } : { page: 'live', parts: [] };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return ''; // a broken escape names nothing
  }
}

/** The hash of a place. Pure. */
export function hashOf(page: PageName, ...parts: (string | number)[]): string {
  return `#/${[page, ...parts].map((part) => encodeURIComponent(part)).join('/')}`;
}

class Route {
  place = $state.raw<Place>({ page: 'live', parts: [] });

  /** Follow the address; returns what stops it. */
  follow(): () => void {
    const read = () => {
      this.place = readHash(location.hash);
    };
    read();
    window.addEventListener('hashchange', read);
    return () => window.removeEventListener('hashchange', read);
  }

  go(page: PageName, ...parts: (string | number)[]): void {
    location.hash = hashOf(page, ...parts);
  }

  /** As `go`, but back leads to where one was before. */
  stay(page: PageName, ...parts: (string | number)[]): void {
    history.replaceState(null, '', hashOf(page, ...parts));
    this.place = readHash(location.hash);
  }
}

export const route = new Route();

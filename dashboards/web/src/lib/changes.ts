/** What differs between two versions of something, as lines that can be struck through. Pure. */

export interface Difference {
  key: string;
  before: unknown; // undefined: was not there
  after: unknown; // undefined: is gone
}

const DEEP_MAX = 2; // levels of objects that are looked into; below, a value is compared whole

export function differences(before: Record<string, unknown> | null | undefined, after: Record<string, unknown> | null | undefined, deep = DEEP_MAX): Difference[] {
  const [old, now] = [before ?? {}, after ?? {}];
  return [...new Set([...Object.keys(old), ...Object.keys(now)])].flatMap((key): Difference[] => {
    const [was, is] = [old[key], now[key]];
    if (same(was, is)) return [];
    if (deep > 1 && isObject(was ?? is) && isObject(is ?? was))
      return differences(was as Record<string, unknown>, is as Record<string, unknown>, deep - 1).map((one) => ({ ...one, key: `${key}.${one.key}` }));
    return [{ key, before: was, after: is }];
  });
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function same(a: unknown, b: unknown): boolean {
  return a === b || JSON.stringify(sorted(a)) === JSON.stringify(sorted(b));
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (!isObject(value)) return value ?? null;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, one]) => [key, sorted(one)]));
}

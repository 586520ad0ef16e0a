import { en } from './en';
import { zh, type Word } from './zh';

export type Language = 'zh' | 'en';
export type { Word };
export type Fill = Record<string, string | number>;

const TABLES: Record<Language, Record<Word, string>> = { zh, en };
const REMEMBERED = 'language';

function remembered(): Language {
  try {
    return localStorage.getItem(REMEMBERED) === 'en' ? 'en' : 'zh';
  } catch {
    return 'zh'; // storage may be forbidden; Chinese is the default
  }
}

class Words {
  language = $state<Language>(remembered());

  /** Show everything in this language, here and at the next start. */
  speak(language: Language): void {
    this.language = language;
    try {
      localStorage.setItem(REMEMBERED, language);
    } catch {
      // not remembered, still spoken
    }
  }
}

export const words = new Words();

/** The text of a key in the language that is spoken now, with its `{names}` filled. */
export function t(key: Word, fill?: Fill): string {
  const text = TABLES[words.language][key];
  return fill ? text.replace(/\{(\w+)\}/g, (hole, name: string) => String(fill[name] ?? hole)) : text;
}

/** The text of `prefix` + code, or of `prefix` + "other" for a code that this client does not know. */
export function named(prefix: string, code: string | number, fill?: Fill): string {
  for (const key of [`${prefix}${code}`, `${prefix}other`]) if (key in zh) return t(key as Word, fill);
  return String(code);
}

/** A thing's own name in the language that is spoken now. */
export function nameOf(thing: { name: string; name_en?: string | null }): string {
  return words.language === 'en' && thing.name_en ? thing.name_en : thing.name;
}

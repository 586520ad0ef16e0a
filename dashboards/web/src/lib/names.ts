/** Names short enough for a table: what a unit's superior already says is left out. Pure. */
import { nameOf, words } from '../words/index.svelte';

/** 长春市公安局交通警察支队南关区大队 -> 南关区大队. */
export function shortUnit(unit: { name: string; name_en?: string | null }): string {
  if (words.language === 'en') return nameOf(unit).replace(/ (Detachment|Brigade|Squadron)$/, '');
  const plain = unit.name.replace(/(朝鲜族自治州|自治州|市)?(公安局|公安厅)/, '').replace(/交通警察|交通管理|交警/, '').replace(/^.{2,3}省(?=.*[支大中]队)/, '');
  for (const part of ['支队', '大队']) {
    const rest = plain.slice(plain.indexOf(part) + part.length);
    if (plain.includes(part) && rest.length > 1) return shortUnit({ name: rest });
  }
  return plain;
}

/** What names have in common at their begin is said once: Changchun G1, Changchun G12 -> G1, G12. */
export function withoutCommonStart(names: string[]): string[] {
  const first = names[0]?.split(' ')[0];
  const common = first !== undefined && names.length > 1 && names.every((name) => name.startsWith(`${first} `));
  return common ? names.map((name) => name.slice(first.length + 1)) : names;
}

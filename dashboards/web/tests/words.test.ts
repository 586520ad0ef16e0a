import { readdirSync, readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { en } from '../src/words/en';
import { zh } from '../src/words/zh';

const holes = (text: string) => (text.match(/\{\w+\}/g) ?? []).sort();

it('both languages have the same keys', () => {
  expect(Object.keys(en).sort()).toEqual(Object.keys(zh).sort());
});

it('a text has the same holes in both languages', () => {
  for (const key of Object.keys(zh) as (keyof typeof zh)[]) expect([key, holes(en[key])]).toEqual([key, holes(zh[key])]);
});

it('every key is spoken somewhere', () => {
  const source = readdirSync('src', { recursive: true, encoding: 'utf8' })
    .filter((file) => /\.(ts|svelte)$/.test(file) && !/words\/(zh|en)(-\w+)?\.ts$/.test(file))
    .map((file) => readFileSync(`src/${file}`, 'utf8'))
    .join('\n');
  const unspoken = Object.keys(zh).filter((key) => {
    const prefix = key.slice(0, key.lastIndexOf('.') + 1);
    return !source.includes(`'${key}'`) && !source.includes(`'${prefix}'`) && !source.includes(`\`${prefix}\${`);
  });
  expect(unspoken).toEqual([]);
});

it('no Chinese text stands in a component', () => {
  const components = readdirSync('src', { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.svelte'));
  const spoken = components.filter((file) => /[\u4e00-\u9fff]{2,}/.test(readFileSync(`src/${file}`, 'utf8')));
  expect(spoken).toEqual([]);
});

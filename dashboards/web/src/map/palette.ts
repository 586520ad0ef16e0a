/** Fonts, colours and thresholds of zoom of the map. */

export const FONTS = '"Noto Sans CJK SC", "Source Han Sans SC", "Noto Sans SC", "Microsoft YaHei", "PingFang SC", sans-serif';
export const TEXT: ['literal', string[]] = ['literal', ['Noto Sans CJK SC Regular']];
export const BOLD: ['literal', string[]] = ['literal', ['Noto Sans CJK SC Bold']];

export const COLOURS = {
  ground: '#090d12',
  area: '#121a23',
  areaLine: '#32465a',
  county: '#233140',
  name: '#8499ad',
  expressway: '#4a6d8c',
  trunk: '#3b4b5c',
  casing: '#0a0f15',
  free: '#46a99a',
  slow: '#d8a13a',
  jam: '#e06a4a',
  unmeasured: '#7d9cc0',
  quiet: '#8fa3b5',
  text: '#e8eef4',
  level: ['#ff5a54', '#ff9a3c', '#f0d048', '#62b0ff'],
} as const;

export const DOTS_ZOOM = 6.7; // of checkpoints; farther away the links say it all
export const NEAR_ZOOM = 7.2; // farther away only grave matters are drawn, and smaller

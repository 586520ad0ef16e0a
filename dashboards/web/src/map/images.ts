/** Small pictures that the map needs and that no server gives: hatching for unknown, shields for road codes. */

export interface Picture {
  width: number;
  height: number;
  data: Uint8ClampedArray;
}

const RATIO = 2; // pixels of a picture for one of the screen, so that it stays sharp

/** A grey disc, hatched and hollow: nothing is known here. Radius in pixels of the screen. */
export function unknownDot(radius: number): { picture: Picture; pixelRatio: number } {
  const size = Math.ceil((radius * 2 + 2) * RATIO);
  const data = new Uint8ClampedArray(size * size * 4);
  const centre = size / 2;
  const outer = radius * RATIO;
  const rim = outer * 0.24;
  const period = outer * 0.6;
  for (let y = 0; y < size; y++)
    for (let x = 0; x < size; x++) {
      const distance = Math.hypot(x + 0.5 - centre, y + 0.5 - centre);
      const inside = clamp(outer - distance + 0.5);
      if (inside === 0) continue;
      const onRim = clamp(distance - (outer - rim) + 0.5);
      const phase = (((x + y) % period) + period) % period;
      const onLine = phase < period * 0.36 ? 1 : 0;
      const shade = onRim > 0.5 || onLine ? 150 : 24;
      const alpha = onRim > 0.5 || onLine ? 235 : 215;
      data.set([shade, shade + 6, shade + 14, alpha * inside], (y * size + x) * 4);
    }
  return { picture: { width: size, height: size, data }, pixelRatio: RATIO };
}

/** A rounded plate that stretches around a road's code. */
export function shield(fill: [number, number, number], rim: [number, number, number]): {
  picture: Picture;
  options: { pixelRatio: number; stretchX: [number, number][]; stretchY: [number, number][]; content: [number, number, number, number] };
} {
  const size = 20 * RATIO;
  const radius = 4 * RATIO;
  const border = 1 * RATIO;
  const data = new Uint8ClampedArray(size * size * 4);
  for (let y = 0; y < size; y++)
    for (let x = 0; x < size; x++) {
      const dx = Math.max(radius - x - 0.5, x + 0.5 - (size - radius), 0);
      const dy = Math.max(radius - y - 0.5, y + 0.5 - (size - radius), 0);
      const depth = radius - Math.hypot(dx, dy); // distance to the edge at the corners
      const edge = Math.min(depth, x + 0.5, y + 0.5, size - x - 0.5, size - y - 0.5);
      const [r, g, b] = edge < border ? rim : fill;
      data.set([r, g, b, 255 * clamp(depth + 0.5)], (y * size + x) * 4);
    }
  const inner: [number, number][] = [[radius, size - radius]];
  const pad = 3 * RATIO;
  return {
    picture: { width: size, height: size, data },
    options: { pixelRatio: RATIO, stretchX: inner, stretchY: inner, content: [pad, pad, size - pad, size - pad] },
  };
}

function clamp(value: number): number {
  return Math.min(1, Math.max(0, value));
}

/** A tile of grey hatching for lines and areas of which nothing is known. Size in pixels of the screen. */
export function hatch(size: number): { picture: Picture; pixelRatio: number } {
  const side = Math.max(4, Math.round(size * RATIO));
  const data = new Uint8ClampedArray(side * side * 4);
  for (let y = 0; y < side; y++)
    for (let x = 0; x < side; x++) {
      const onLine = (x + y) % side < side * 0.42;
      const shade = onLine ? 132 : 40;
      data.set([shade, shade + 7, shade + 14, 255], (y * side + x) * 4);
    }
  return { picture: { width: side, height: side, data }, pixelRatio: RATIO };
}

export type Shape = 'square' | 'diamond' | 'circle' | 'triangle' | 'arrow' | 'octagon';

/** A sign of a plain shape: filled, or hollow where it is stale; corners given clockwise in a square of -1..1. */
export function sign(shape: Shape, radius: number, fill: string, rim: string, hollow = false): { picture: ImageData; pixelRatio: number } {
  const side = Math.ceil((radius * 2 + 4) * RATIO);
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = side;
  const context = canvas.getContext('2d');
  if (context === null) throw new Error('this browser draws no pictures');
  context.translate(side / 2, side / 2);
  context.scale(radius * RATIO, radius * RATIO);
  context.beginPath();
  if (shape === 'circle') context.arc(0, 0, 0.92, 0, 2 * Math.PI);
  else for (const [x, y] of CORNERS[shape]) context.lineTo(x, y);
  context.closePath();
  context.lineJoin = 'round';
  context.fillStyle = hollow ? '#10161e' : fill;
  context.fill();
  context.lineWidth = hollow ? 0.26 : 0.2;
  context.strokeStyle = hollow ? fill : rim;
  context.stroke();
  return { picture: context.getImageData(0, 0, side, side), pixelRatio: RATIO };
}

const CORNERS: Record<Exclude<Shape, 'circle'>, [number, number][]> = {
  square: [[-0.85, -0.85], [0.85, -0.85], [0.85, 0.85], [-0.85, 0.85]],
  diamond: [[0, -1], [1, 0], [0, 1], [-1, 0]],
  triangle: [[0, -0.95], [0.98, 0.78], [-0.98, 0.78]],
  arrow: [[0, -1], [0.78, 0.85], [0, 0.42], [-0.78, 0.85]],
  octagon: [[-0.42, -1], [0.42, -1], [1, -0.42], [1, 0.42], [0.42, 1], [-0.42, 1], [-1, 0.42], [-1, -0.42]],
};

import { expect, it } from 'vitest';
import { draft } from '../src/lib/draft';

it('a GA/T 1400 vehicle is begun in native fields', () => {
  const body = JSON.stringify({
    MotorVehicleID: 'm1', TollgateID: '22010000001210000001', PassTime: '20261124080000', PlateNo: '吉A12345', PlateClass: '02', LaneNo: 2, Speed: 88.5, Direction: '1',
  });
  expect(JSON.parse(draft(body))).toEqual({
    id: 'm1', checkpoint: '22010000001210000001', observed_at: '2026-11-24T08:00:00+08:00', plate: '吉A12345', plate_class: 2, direction: 0, lane: 2, speed_kmh: 88.5,
  });
});

it('a time that is none is left as it came', () => {
  expect(JSON.parse(draft('{"TollgateID":"1","PassTime":"yesterday"}')).observed_at).toBe('yesterday');
});

it('a native record stays what it is, and broken text too', () => {
  expect(JSON.parse(draft('{"lane":1}'))).toEqual({ lane: 1 });
  expect(draft('{"lane":')).toBe('{"lane":');
});

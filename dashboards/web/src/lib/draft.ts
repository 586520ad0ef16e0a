/** A refused record as a person begins to correct it: in the native fields, whatever door it came by. Pure. */

const BEIJING = '+08:00'; // GA/T 1400 times carry no zone

/** Pretty JSON to edit. A GA/T 1400 vehicle is translated; its compass direction is left for the person to say. */
export function draft(body: string): string {
  let record: unknown;
  try {
    record = JSON.parse(body);
  } catch {
    return body; // no JSON, or cut off: shown as it came
  }
  const isVehicle = typeof record === 'object' && record !== null && 'TollgateID' in record;
  return JSON.stringify(isVehicle ? native(record as Record<string, unknown>) : record, null, 2);
}

function native(vehicle: Record<string, unknown>): Record<string, unknown> {
  const number = (name: string) => (vehicle[name] === undefined ? undefined : Number(vehicle[name]));
  return {
    id: vehicle['MotorVehicleID'],
    checkpoint: vehicle['TollgateID'],
    observed_at: moment(vehicle['PassTime']),
    plate: vehicle['PlateNo'] ?? '',
    plate_class: number('PlateClass'),
    direction: 0,
    lane: number('LaneNo'),
    speed_kmh: number('Speed'),
  };
}

function moment(time: unknown): unknown {
  const parts = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)$/.exec(String(time));
  if (!parts) return time;
  const [, year, month, day, hour, minute, second] = parts;
  return `${year}-${month}-${day}T${hour}:${minute}:${second}${BEIJING}`;
}

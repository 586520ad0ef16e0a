/** Facts as the API and the socket give them. Times named `at` or `*_at` are microseconds UTC. */

export interface Unit {
  id: number;
  name: string;
  name_en?: string;
  level: number;
}

export interface Me {
  login: string;
  name: string;
  unit: Unit;
  role: string;
  clearance: number;
}

export interface Checkpoint {
  id: number;
  code: string;
  name: string;
  name_en: string;
  road: string;
  stake_m: number;
  lon: number;
  lat: number;
  lanes: number;
  limit_kmh: number;
  unit_id: number;
  unit: string;
  unit_en: string;
}

export type Bounds = [west: number, south: number, east: number, north: number];

export interface DivisionFacts {
  adcode: number;
  name: string;
  name_en: string;
  level: number;
}

export interface RoadFacts {
  code: string;
  name: string;
  name_en: string;
  kind: string;
  approximate: boolean;
}

export interface Area {
  divisions: GeoJSON.FeatureCollection<GeoJSON.Polygon | GeoJSON.MultiPolygon, DivisionFacts>;
  roads: GeoJSON.FeatureCollection<GeoJSON.LineString | GeoJSON.MultiLineString, RoadFacts>;
  checkpoints: Checkpoint[];
  unit: Unit;
  bounds: Bounds;
}

export type FlowState = 'live' | 'quiet' | 'unknown';

export interface DirectionFlow {
  direction: number;
  per_minute: number | null;
  speed_kmh: number | null;
}

export interface Flow {
  id: number;
  flow: DirectionFlow[];
  per_minute: number | null;
  speed_kmh: number | null;
  seen_at: number | null;
  state: FlowState;
}

export interface Observation {
  at: number;
  checkpoint: number;
  direction: number;
  lane: number;
  speed_kmh: number | null;
  record: string;
}

export interface WatchEntry {
  number: string;
  category: number;
  level: number;
  facts: string;
  intercept: boolean;
}

export interface Section {
  id: number;
  from: number;
  to: number;
  length_m: number;
  limit_kmh: number;
  travel_s: number;
  speed_kmh: number;
}

export interface Cause {
  reason: string;
  at?: number;
  checkpoint?: number;
}

export type Change = 'new' | 'updated' | 'corrected' | 'retracted' | 'superseded_by';

export interface Alert {
  id: string;
  kind: string;
  revision: number;
  change: Change;
  state: 'active' | 'retracted';
  level: number;
  plate: string;
  plate_class_group: number;
  rule: { id: number; version: number; name: string; clause: string };
  confidence: number;
  first_at: number;
  observed_at: number;
  raised_at: number;
  count: number;
  observations: Observation[];
  entry?: WatchEntry;
  section?: Section;
  cause: Cause | null;
}

export interface Figures {
  passages_per_minute: number | null;
  checkpoints_live: number | null;
  checkpoints_total: number | null;
  alerts_today: number | null;
  alerts_by_level: Record<string, number>;
  lag_s: number | null;
}

export interface StoppedPart {
  part: string;
  since: number;
}

/** Facts as the API and the socket give them. Times named `at` or `*_at` are microseconds UTC. */

export interface Unit {
  id: number;
  name: string;
  name_en?: string;
  level: number;
}

/** What an instance is for: only a live one shows what is so now. */
export type Purpose = 'live' | 'replay' | 'drill';

/** `rate`: how fast an instance's time runs. */
export interface InstanceTime {
  purpose: Purpose;
  rate: number;
}

export interface Me {
  login: string;
  name: string;
  unit: Unit;
  role: string;
  clearance: number;
  may?: string[]; // what the role carries; not told by the live view
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
  id: number;
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
  links: GeoJSON.FeatureCollection<GeoJSON.LineString, LinkFacts>;
  detectors: Detector[];
  objects: RoadsideObject[];
  crews: CrewFacts[];
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
  checkpoint: number; // 0: not a passage
  direction: number;
  lane: number;
  speed_kmh: number | null;
  record: string;
  source?: 'passage' | 'position' | 'alarm' | 'silence';
  lon?: number | null;
  lat?: number | null;
  stake?: string | null; // "G1 K1023+500"
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

export type Change = 'new' | 'updated' | 'corrected' | 'retracted' | 'superseded_by' | 'verified' | 'shelved' | 'unshelved';

/** What a person found when comparing the picture with the plate. */
export interface Verification {
  verdict: 'valid' | 'false';
  reason: string;
  by: string;
  at: number;
}

/** A person put the alert aside until then. */
export interface Shelf {
  reason: string;
  until: number;
  by: string;
}

/** How a plate fits a watch-list entry. */
export interface Match {
  how: string;
  probability?: number | null;
  reads?: Record<string, number>; // each reading with its probability
}

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
  verification?: Verification | null;
  shelf?: Shelf | null;
  needs_verification?: boolean;
  trust?: number | null;
  match?: Match | null;
}

export interface Figures {
  passages_per_minute: number | null;
  checkpoints_live: number | null;
  checkpoints_total: number | null;
  alerts_today: number | null;
  alerts_by_level: Record<string, number>;
  lag_s: number | null;
  index: IndexFigures | null;
  events_open: Partial<Record<EventKind, number>>;
  crews: { fresh: number; total: number } | null;
}

export interface StoppedPart {
  part: string;
  since: number;
}

// ---------------------------------------------------------------- the roads

export interface LinkFacts {
  id: number;
  road: number;
  direction: number;
  from_stake_m: number; // in the direction of travel
  to_stake_m: number;
  length_m: number;
  lanes: number;
  limit_kmh: number;
  unit_id: number;
}

export interface Detector {
  id: number;
  code: string;
  name: string;
  name_en: string;
  kind: string;
  road: number;
  stake_m: number;
  direction: number;
  link_id: number;
  lanes: number;
  lon: number;
  lat: number;
  unit_id: number;
}

export interface RoadsideObject {
  id: number;
  kind: string;
  code: string;
  name: string;
  name_en: string;
  road: number;
  stake_m: number;
  direction: number;
  lon: number;
  lat: number;
  unit_id: number;
  facts: Record<string, unknown>;
  enabled: boolean;
}

export interface CrewFacts {
  id: number;
  code: string;
  name: string;
  name_en: string;
  unit_id: number;
  plate: string;
}

/** A link as the socket tells it. Level 0: unknown; 1 free .. 5 blocked. Risk 0: unknown; 1 low .. 4 grave. */
export type LinkRow = [
  link: number,
  level: number,
  speed_kmh: number | null,
  flow_vph: number | null,
  density_vkm: number | null,
  travel_s: number | null,
  travel_p90_s: number | null,
  confidence: number,
  observed_us: number | null,
  risk_level: number,
  risk_next_level: number,
];

export interface LinkState {
  level: number;
  speed_kmh: number | null;
  flow_vph: number | null;
  density_vkm: number | null;
  travel_s: number | null;
  travel_p90_s: number | null;
  confidence: number;
  observed_us: number | null;
  risk_level: number;
  risk_next_level: number;
}

export type CrewRow = [
  crew: number,
  observed_us: number,
  lon: number,
  lat: number,
  speed_kmh: number | null,
  bearing_deg: number | null,
  road: number | null,
  stake_m: number | null,
  direction: number | null,
];

export type VehicleRow = [
  plate: string,
  class_group: number,
  kind: string,
  observed_us: number,
  lon: number,
  lat: number,
  speed_kmh: number | null,
  bearing_deg: number | null,
  road: number | null,
  stake_m: number | null,
];

export interface GoneUnits {
  crews?: number[];
  vehicles?: [plate: string, class_group: number][];
}

export type EventKind = 'congestion' | 'incident' | 'weather' | 'works' | 'sensor';

export interface RoadEvent {
  id: string;
  kind: EventKind;
  state: 'open' | 'ended';
  level: number;
  revision: number;
  link: number | null;
  road: number;
  direction: number;
  head_stake_m: number;
  tail_stake_m: number;
  unit: number;
  started_at: number;
  changed_at: number;
  ended_at: number | null;
  observed_at: number;
  confidence: number;
  change: string;
  grounds: Record<string, unknown>;
}

export interface IndexFigures {
  index: number | null;
  usual: number | null;
  speed_kmh: number | null;
  congested_km: number;
  known_share: number;
  vehicle_km_h: number | null;
  risk_links: number[];
  at: number;
}

export interface UnitNode extends Unit {
  code: string;
  branch: string;
  parent: number | null;
  within: boolean;
}

export interface LaneHealth {
  lane: number; // of a detector (0: all together); of a checkpoint its direction
  state: 'ok' | 'suspect' | 'failed' | 'silent';
  reason: string;
  trust: number;
  since: number;
  detail: Record<string, unknown>;
}

export interface SensorRow extends LaneHealth {
  kind: 'detector' | 'checkpoint';
  id: number;
  code: string;
  name: string;
  name_en: string;
  road: string;
  stake_m: number;
  unit_id: number;
}

/** Road, and a stretch of it; `road` is the road's id wherever the client holds it. */
export interface Stretch {
  road: number;
  from_stake_m: number;
  to_stake_m: number;
  direction: number;
}

export interface WeatherReport extends Stretch {
  id: number;
  station: string;
  kind: string;
  observed_at: number;
  valid_to: number;
  visibility_m: number | null;
  precipitation: string | null;
  intensity_mm_h: number | null;
  temperature_c: number | null;
  wind_ms: number | null;
  surface: string | null;
  note: string;
}

export interface RoadWork extends Stretch {
  id: number;
  code: string;
  kind: string;
  state: string;
  lanes_closed: number[];
  from_at: number;
  to_at: number;
  contact: string;
  unit_id: number;
}

// ---------------------------------------------------------------- answers about roads

export type Row = (number | null)[];

export interface LinkNow {
  cycle_at: number;
  observed_at: number | null;
  level: number;
  speed_kmh: number | null;
  flow_vph: number | null;
  density_vkm: number | null;
  travel_s: number | null;
  travel_p90_s: number | null;
  heavy_share: number | null;
  confidence: number;
  sources: string[];
}

export interface LinkRisk {
  level: number;
  score: number | null;
  next_level: number;
  next_score: number | null;
  factors: { factor: string; now: number; next: number | null }[];
}

export interface SensorOnLink {
  kind: 'detector' | 'checkpoint';
  id: number;
  code: string;
  name: string;
  name_en: string;
  stake_m: number;
  lanes: LaneHealth[];
}

export interface LinkStory {
  state: LinkNow | null;
  risk: LinkRisk;
  grounds: Record<string, unknown>;
  sensors: SensorOnLink[];
  series: Row[]; // [bucket begin, speed, flow, level]
  usual: { speed_kmh: number | null; flow_vph: number | null } | null;
}

export interface EventStory {
  event: RoadEvent;
  revisions: { revision: number; changed_at: number; body: Partial<RoadEvent> }[];
}

export interface DetectorStory {
  health: LaneHealth[];
  lanes: { lane: number; series: Row[] }[]; // [end, vehicles, occupancy, speed, heavy]
}

export interface Trend {
  bucket_s: number;
  series: Row[];
  before: Row[];
}

export interface PlaceAnswer {
  road: { id: number; code: string; name: string; name_en: string };
  stake_m: number;
  stake: string;
  direction: number;
  lon: number;
  lat: number;
  away_m: number;
  link_id: number | null;
  unit_id: number | null;
}

export interface Found {
  kind: 'place' | 'road' | 'unit' | 'checkpoint' | 'detector' | 'object' | 'crew';
  id: number | null;
  title: string;
  title_en: string;
  detail: string;
  road: string | null;
  stake_m: number | null;
  direction: number | null;
  lon: number | null;
  lat: number | null;
  unit_id: number | null;
}

export interface AreaNow {
  unit: Unit;
  index: IndexFigures | null;
  events_open: Partial<Record<EventKind, number>>;
  crews: { fresh: number; total: number };
}

export interface AreaSummary extends AreaNow {
  children: AreaNow[];
}

/** Facts of key-vehicle control as the API gives them. Times named `at` or `*_at` are microseconds UTC; days are texts. */
import type { Alert, Change, Observation } from './types';

// ---------------------------------------------------------------- findings

export const KINDS = [
  'watch_hit', 'section_speed', 'cloned_plate', 'driving_time', 'night_running', 'ban', 'route_deviation', 'overspeed',
  'overdue_arrival', 'long_stop', 'geofence', 'registry_state', 'device_alarm', 'position_mismatch',
] as const;

export interface Seen extends Observation {
  name?: string;
  name_en?: string;
  road?: string | null;
  stake_m?: number | null;
}

export interface Picture {
  record: string;
  number: number;
  state: 'waiting' | 'copied' | 'failed';
  sha256: string | null;
  url: string | null;
  error?: string;
}

export interface Revision {
  revision: number;
  change: Change;
  raised_at: number;
  before?: Record<string, unknown> | null;
  after?: Record<string, unknown> | null;
  cause?: Record<string, unknown> | null;
  by?: string | null;
}

export interface Sensor {
  name: string;
  name_en?: string;
  kind?: string;
  trust: number | null; // 0..1; null: not known
  why?: string;
  then?: number | null; // what the finding was made with
}

export interface Explanation {
  finding: Alert;
  rule: {
    id: number;
    version: number;
    name: string;
    clause: string;
    parameters: Record<string, unknown>;
    lateness_s: number | null;
  };
  observations: Seen[];
  pictures: Picture[];
  revisions: Revision[];
  trust: Sensor[];
  map: GeoJSON.FeatureCollection;
  registry: Record<string, unknown> | null;
  notice: string;
}

// ---------------------------------------------------------------- registry

export const VEHICLE_KINDS = [
  'tour_coach', 'scheduled_coach', 'hazardous_goods', 'heavy_truck', 'minivan', 'school_bus', 'ex_commercial_coach', 'other',
] as const;
export const VEHICLE_STATES = ['normal', 'scrapped', 'deregistered', 'false_registered', 'seized'] as const;

export interface KeyVehicle {
  plate: string;
  class_group: number;
  kind: string;
  state: string;
  company?: { id: number; name: string } | null;
  unit?: string | null;
  inspection_until: string | null;
  scrap_by: string | null;
  insurance_until?: string | null;
  violations_open: number;
  as_of: number;
  source: string;
  findings_30d?: number;
}

export interface Permit {
  number: string;
  kind: string;
  valid_from: number;
  valid_to: number;
  hours: [string, string][];
  weekdays: number[];
  roads: { road: string; from_stake_m?: number; to_stake_m?: number; direction?: number }[];
  goods: string;
  plate?: string;
  class_group?: number;
}

export interface PlatformQuery {
  asked_at: number;
  outcome: 'found' | 'not_found' | 'unreachable' | 'refused' | 'malformed';
  as_of: number | null;
}

export interface VehicleFile {
  vehicle: KeyVehicle & {
    vin?: string;
    brand?: string;
    seats?: number | null;
    ex_commercial?: boolean;
    route_kind?: string;
    route_km?: number | null;
    body_color?: number;
    vehicle_class?: number;
    enabled?: boolean;
  };
  company: Company | null;
  permits: Permit[];
  findings: { kind: string; count: number }[];
  query: PlatformQuery | null;
  platform?: boolean; // whether one is set up
}

export interface Company {
  id: number;
  code: string;
  name: string;
  kind: string;
  unit?: string | null;
  licence: string;
  licence_until: string | null;
  contact: string;
  phone: string;
  as_of: number;
  vehicles?: number;
}

export interface Driver {
  name: string;
  licence: string;
  class: string;
  licence_until: string | null;
  qualification: string;
  qualification_until: string | null;
}

export interface CompanyFile {
  company: Company;
  vehicles: KeyVehicle[];
  drivers: Driver[];
  permits: Permit[];
  findings: { kind: string; count: number }[];
}

export interface RefusedLine {
  line: number;
  field: string;
  reason: string;
  detail: string;
}

export interface ImportState {
  id: string;
  what: string;
  state: 'running' | 'done' | 'refused' | 'failed'; // refused: the file itself is wrong from some place on
  rows: number;
  bytes: number; // read of `size`
  size: number;
  added: number;
  changed: number;
  unchanged: number;
  older: number; // the table knew something newer
  refused: RefusedLine[];
  refused_count: number;
  ignored_columns: string[];
  error: string;
}

// ---------------------------------------------------------------- rules

export type RuleState = 'draft' | 'armed' | 'off';

export interface Scope {
  units?: number[];
  roads?: { road: string; from_stake_m?: number | null; to_stake_m?: number | null; direction?: number | null }[];
  checkpoints?: number[];
  road_kinds?: string[];
  fences?: number[];
  kinds?: string[];
  class_groups?: number[];
  vehicle_classes?: string[];
  plates_like?: string[];
}

export interface Schedule {
  hours?: [string, string][];
  weekdays?: number[];
  holidays?: 'any' | 'only' | 'except';
  from?: string;
  to?: string;
}

export interface Exemptions {
  permits?: string[];
  plates?: string[];
  kinds?: string[];
  route_kinds?: string[];
  route_km_max?: number | null;
}

export interface RuleDraft {
  kind: string;
  name: string;
  clause: string;
  level: number | null;
  unit?: number | null;
  lateness_s: number;
  parameters: Record<string, unknown>;
  scope: Scope;
  schedule: Schedule;
  exemptions: Exemptions;
}

export interface Rule extends RuleDraft {
  id: number;
  version: number;
  state: RuleState;
  note?: string;
  changed_by?: string | null;
  changed_at?: number | null;
  editable?: boolean;
  in_force?: number | null; // the version that holds now; the newest may be a draft behind it
  broken?: string | null; // why it cannot be followed
}

export interface RuleVersion extends Rule {
  valid_from?: number | null;
  valid_to?: number | null;
}

export interface RuleFile {
  rule: Rule;
  versions: RuleVersion[];
  fired: { day: string; count: number }[];
}

export interface ParameterSchema {
  name: string;
  unit?: string;
  default: unknown;
  min?: number | null;
  max?: number | null;
  label?: string;
  whole?: boolean;
  choices?: string[];
}

export interface RuleKind {
  kind: string;
  parameters: ParameterSchema[];
  lateness_s?: number;
  scoped?: boolean;
  many?: boolean;
}

export interface DryRun {
  id: string;
  state: 'queued' | 'running' | 'done' | 'failed' | 'cancelled';
  progress: number;
  error?: string;
  from_at?: number | null;
  to_at?: number | null;
  result: DryRunResult | null;
}

export interface DryRunResult {
  fired: number;
  by_day: { day: string; count: number }[];
  by_checkpoint: { checkpoint: number; count: number }[];
  by_unit: { unit: number; count: number }[];
  by_class?: { class_group: number; count: number }[];
  vehicles: { plate: string; class_group?: number; count: number; first: number; last: number }[];
  samples: Alert[];
  records: number;
  took_s?: number;
  vehicles_count?: number;
  retracted?: number;
}

export interface Fence {
  id: number;
  code: string;
  name: string;
  kind: 'forbidden' | 'parking' | 'place';
  shape: GeoJSON.Polygon | { type: 'Circle'; centre: [number, number]; radius_m: number };
  unit_id?: number;
  unit?: string | number;
  enabled: boolean;
  changed_at?: number | null;
  changed_by?: string | null;
  editable?: boolean;
}

export interface Holiday {
  day: string;
  kind: 'holiday' | 'working';
  name: string;
}

// ---------------------------------------------------------------- look-ups

export interface TrackPoint {
  at: number;
  checkpoint?: number;
  direction: number;
  lane: number;
  speed_kmh: number | null;
  plate?: string;
  record: string;
  plate_class?: number;
  images: string[];
}

// ---------------------------------------------------------------- devices

export interface DeviceRow {
  id: number;
  code: string;
  name: string;
  kind: string;
  unit?: string | null;
  seen_at: number | null;
  state: string;
  records_24h: number | null;
  refused_24h: Record<string, number> | { reason: string; count: number }[];
  trust: number | null;
  skew_s: number | null;
}

export interface TerminalRow {
  id: number;
  phone: string;
  plate: string;
  class_group: number;
  maker: string;
  model: string;
  seen_at: number | null;
  online: boolean | null;
  enabled: boolean;
}

/** Microseconds, or RFC 3339. */
export type Moment = number | string;

export interface PlatformRow {
  code: string;
  name: string;
  enabled: boolean;
  state: string | null; // null: never heard
  seen_at: Moment | null;
  peer?: string | null;
}

export interface TerminalMessage {
  id: number | string;
  state: 'queued' | 'sent' | 'answered' | 'failed' | 'expired';
  kind?: string;
  body?: Record<string, unknown>;
  asked_by?: string;
  asked_at?: Moment;
  until?: Moment;
  sent_at?: Moment | null;
  answered_at?: Moment | null;
  answer?: Record<string, unknown>;
}

export interface Subscription {
  id: string;
  direction: 'in' | 'out';
  device?: string | null;
  device_name?: string | null;
  told?: boolean;
  sent?: number;
  lost?: number;
  title: string;
  resource: string;
  receive_addr: string;
  begins_at: Moment;
  ends_at: Moment;
  status: number;
  last_ok_at: Moment | null;
  last_error: string;
  waiting?: number;
}

export interface DeviceFile {
  device: DeviceRow;
  sensors: { kind: string; id: number; name: string; name_en?: string; state: string; reason: string; trust: number | null }[];
  refused: { id: number; received_at: number; field: string; reason: string; detail: string; body: string | null }[];
}

export interface TerminalFile {
  terminal: TerminalRow & {
    number?: string;
    registered_at?: number | null;
    unit?: string | null;
    position?: { at: number; lon: number; lat: number; speed_kmh: number | null; road: number | null; stake_m: number | null; direction: number } | null;
  };
  messages: TerminalMessage[];
}

/** What the person's role may do, as the server says at log-in: what may not be done is not offered. */
import type { Me } from './types';

export type Action =
  | 'tend_quarantine' | 'read_devices' | 'verify_alert' | 'shelve_alert' | 'read_rules' | 'edit_rules' | 'read_registry'
  | 'import_registry' | 'subscribe' | 'look_up' | 'look_up_beyond' | 'speak_to_terminal';

class Rights {
  private held = $state.raw<ReadonlySet<string>>(new Set());

  of(me: Me): void {
    this.held = new Set(me.may ?? []);
  }

  may(action: Action): boolean {
    return this.held.has(action);
  }
}

export const rights = new Rights();

/** Dry runs that go on while one looks at other pages: which run belongs to which rule or draft. */
import { cancelDryRun, dryRun, startDryRun } from './keyapi';
import type { DryRun, RuleDraft } from './keytypes';

const AGAIN_MS = 800;

class Run {
  id = $state<string | null>(null);
  told = $state.raw<DryRun | null>(null);
  error = $state.raw<unknown>(null);
  days = $state(7);
  starting = $state(false);
  running = $derived(this.starting || this.told?.state === 'queued' || this.told?.state === 'running');
  private timer: ReturnType<typeof setTimeout> | undefined;

  async start(rule: RuleDraft & { id?: number }): Promise<void> {
    clearTimeout(this.timer);
    this.starting = true;
    this.told = this.error = null;
    try {
      this.id = (await startDryRun(rule, this.days)).id;
      await this.look();
    } catch (error) {
      this.error = error;
    }
    this.starting = false;
  }

  async stop(): Promise<void> {
    clearTimeout(this.timer);
    try {
      if (this.id !== null) await cancelDryRun(this.id);
      await this.look();
    } catch (error) {
      this.error = error;
    }
  }

  private async look(): Promise<void> {
    if (this.id === null) return;
    try {
      this.told = await dryRun(this.id);
      this.error = null;
    } catch (error) {
      this.error = error;
    }
    const over = this.told !== null && ['done', 'failed', 'cancelled'].includes(this.told.state);
    if (!over) this.timer = setTimeout(() => void this.look(), AGAIN_MS);
  }
}

const runs = new Map<string, Run>();

export function runOf(name: string): Run {
  let run = runs.get(name);
  if (run === undefined) runs.set(name, (run = new Run()));
  return run;
}

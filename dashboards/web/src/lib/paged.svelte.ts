/** A list that comes page by page. The newest question wins: an answer to an older one is dropped. */

export interface PageOf<T> {
  rows: T[];
  next: string | null;
}

export class Paged<T> {
  rows = $state.raw<T[] | null>(null); // null: not known yet
  next = $state<string | null>(null);
  busy = $state(false);
  error = $state.raw<unknown>(null);
  atMs = $state<number | null>(null); // monotonic, of the last good answer
  private generation = 0;
  private ask: ((before: string | null) => Promise<PageOf<T>>) | null = null;

  /** Ask for the first page. */
  async read(ask: (before: string | null) => Promise<PageOf<T>>): Promise<void> {
    this.ask = ask;
    await this.turn(null, []);
  }

  /** The same question once more. */
  async again(): Promise<void> {
    await this.turn(null, []);
  }

  async more(): Promise<void> {
    if (this.next !== null) await this.turn(this.next, this.rows ?? []);
  }

  clear(): void {
    this.generation += 1;
    this.rows = this.next = this.error = this.atMs = null;
    this.busy = false;
  }

  private async turn(before: string | null, kept: T[]): Promise<void> {
    const ask = this.ask;
    if (ask === null) return;
    const mine = ++this.generation;
    this.busy = true;
    try {
      const page = await ask(before);
      if (mine !== this.generation) return;
      this.rows = [...kept, ...page.rows];
      this.next = page.next;
      this.error = null;
      this.atMs = performance.now();
    } catch (error) {
      if (mine !== this.generation) return;
      this.error = error;
    }
    this.busy = false;
  }
}

/** One answer that is asked for once, and again when a person wants. */

export class Asked<T> {
  value = $state.raw<T | null>(null);
  error = $state.raw<unknown>(null);
  busy = $state(false);
  private generation = 0;

  /** Ask; the answer before stays on the screen until this one is there, unless `forget`. */
  async read(ask: () => Promise<T>, forget = false): Promise<T | null> {
    const mine = ++this.generation;
    this.busy = true;
    if (forget) this.value = null;
    let value: T | null = null;
    try {
      value = await ask();
      if (mine !== this.generation) return null;
      this.value = value;
      this.error = null;
    } catch (error) {
      if (mine !== this.generation) return null;
      this.error = error;
    }
    this.busy = false;
    return value;
  }

  clear(): void {
    this.generation += 1;
    this.value = this.error = null;
    this.busy = false;
  }
}

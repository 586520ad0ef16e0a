/** An answer that is asked for again and again; a failure keeps the last one, with its age. */

export class Polled<T> {
  value = $state.raw<T | null>(null);
  error = $state.raw<unknown>(null);
  atMs = $state<number | null>(null); // monotonic, of the last good answer
  private generation = 0;

  constructor(private readonly forget = true) {}

  /** Ask now and every `everyMs`; returns what stops it. Used as the body of an effect. */
  follow(ask: () => Promise<T>, everyMs: number): () => void {
    const mine = ++this.generation;
    if (this.forget) this.clear();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const turn = async (): Promise<void> => {
      try {
        const value = await ask();
        if (mine !== this.generation) return;
        this.value = value;
        this.error = null;
        this.atMs = performance.now();
      } catch (error) {
        if (mine !== this.generation) return;
        this.error = error;
      }
      timer = setTimeout(() => void turn(), everyMs);
    };
    void turn();
    return () => {
      if (mine === this.generation) this.generation += 1;
      clearTimeout(timer);
    };
  }

  clear(): void {
    this.value = null;
    this.error = null;
    this.atMs = null;
  }
}

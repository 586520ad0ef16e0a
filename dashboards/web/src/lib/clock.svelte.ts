/** The wall clock of the screens: ticks once a second; follows the server's clock once it is known. */

class Clock {
  private offsetMs = 0; // server's time less the monotonic clock of this page
  private known = false;
  /** Server time in milliseconds, renewed each second. */
  nowMs = $state(Date.now());
  /** Milliseconds since the page began, renewed with nowMs; unlike it, never jumps. */
  tickMs = $state(performance.now());

  /** Start ticking; returns what stops it. */
  run(): () => void {
    const timer = setInterval(() => this.tick(), 1000);
    return () => clearInterval(timer);
  }

  /** A frame says what time it is where the facts come from. */
  heard(atUs: number): void {
    if (!Number.isFinite(atUs) || atUs <= 0) return;
    this.offsetMs = atUs / 1000 - performance.now();
    const first = !this.known;
    this.known = true;
    if (first) this.tick();
  }

  exactMs(): number {
    return this.known ? this.offsetMs + performance.now() : Date.now();
  }

  private tick(): void {
    this.nowMs = this.exactMs();
    this.tickMs = performance.now();
  }
}

export const clock = new Clock();

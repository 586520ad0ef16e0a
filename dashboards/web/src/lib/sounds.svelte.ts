/** The sounds of alerts. Browsers allow none before a person has touched the page; until then the switch says so. */
import { FIRST_POLICY, isHeard, soundLevel, SoundPace, type AlertPolicy } from './sound';
import type { Alert } from './types';

const KEY = 'sounds';
const TONES: Record<number, { hz: number[]; each_s: number }> = {
  1: { hz: [880, 660, 880, 660], each_s: 0.16 },
  2: { hz: [740, 740], each_s: 0.18 },
  3: { hz: [587], each_s: 0.22 },
  4: { hz: [440], each_s: 0.16 },
};
const PAUSE_S = 0.25;
const VOLUME = 0.18;

export type SoundState = 'off' | 'waiting' | 'on';

class Sounds {
  private wanted = $state(remembered());
  private context = $state.raw<AudioContext | null>(null);
  private pace = new SoundPace();
  private policy: AlertPolicy = FIRST_POLICY;
  /** Sounds given since the page began, by level: shown in the page for those who look after it. */
  given = $state.raw<number[]>([]);
  state = $derived<SoundState>(!this.wanted ? 'off' : this.context === null ? 'waiting' : 'on');

  /** After a reload the wish stands, but a person must touch the page first. Returns what undoes it. */
  follow(): () => void {
    const touched = () => {
      if (this.wanted && this.context === null) this.begin();
    };
    window.addEventListener('pointerdown', touched);
    window.addEventListener('keydown', touched);
    return () => {
      window.removeEventListener('pointerdown', touched);
      window.removeEventListener('keydown', touched);
      void this.context?.close();
      this.context = null;
    };
  }

  toggle(): void {
    this.wanted = this.state !== 'on';
    try {
      localStorage.setItem(KEY, this.wanted ? 'on' : 'off');
    } catch {
      // not remembered, still obeyed
    }
    if (this.wanted) this.begin();
    else {
      void this.context?.close();
      this.context = null;
    }
  }

  obey(policy: AlertPolicy): void {
    this.policy = policy;
  }

  hear(news: Alert[]): void {
    if (this.state !== 'on') return;
    const heard = news.filter((alert) => isHeard(alert, this.policy)).map((alert) => soundLevel(alert, this.policy));
    const levels = this.pace.take(heard, this.policy, performance.now());
    let after = 0;
    for (const level of levels) after += this.play(level, after) + PAUSE_S;
    if (levels.length > 0) this.given = [...this.given.slice(-99), ...levels];
  }

  private begin(): void {
    try {
      this.context ??= new AudioContext();
      void this.context.resume();
    } catch {
      this.context = null; // no sound device: the switch keeps saying that it waits
    }
  }

  /** Returns how long it sounds. */
  private play(level: number, after_s: number): number {
    const tone = TONES[level] ?? TONES[4];
    if (this.context === null || tone === undefined) return 0;
    const begin = this.context.currentTime + 0.02 + after_s;
    tone.hz.forEach((hz, number) => this.note(hz, begin + number * tone.each_s, tone.each_s));
    return tone.hz.length * tone.each_s;
  }

  private note(hz: number, at: number, long_s: number): void {
    if (this.context === null) return;
    const [source, gain] = [this.context.createOscillator(), this.context.createGain()];
    source.frequency.value = hz;
    gain.gain.setValueAtTime(0, at);
    gain.gain.linearRampToValueAtTime(VOLUME, at + 0.015);
    gain.gain.linearRampToValueAtTime(0, at + long_s - 0.02);
    source.connect(gain).connect(this.context.destination);
    source.start(at);
    source.stop(at + long_s);
  }
}

function remembered(): boolean {
  try {
    return localStorage.getItem(KEY) === 'on';
  } catch {
    return false;
  }
}

export const sounds = new Sounds();

/** Whose track, or which checkpoint's passages, is asked for: handed from page to page in memory, never in the address. */

export interface Subject {
  plate?: string;
  group?: number;
  checkpoint?: number;
  finding?: string; // the alert out of which the look-up is made: its purpose
  kind?: string; // of that alert
}

class LookUp {
  subject = $state.raw<Subject | null>(null);

  of(subject: Subject): void {
    this.subject = subject;
  }

  /** What was handed over, once. */
  take(): Subject | null {
    const subject = this.subject;
    this.subject = null;
    return subject;
  }
}

export const lookUp = new LookUp();

// Where the last request of each session went. At the limit the session that was quiet longest is forgotten: its next
// request is placed like that of a new session.

export class SessionIndex {
  readonly #maxSessions: number;
  readonly #instances = new Map<string, string>();

  constructor(maxSessions = 50_000) {
    this.#maxSessions = maxSessions;
  }

  get size(): number {
    return this.#instances.size;
  }

  /** An empty session id is no session. */
  set(sessionId: string, instanceId: string): void {
    if (sessionId === '') return;
    this.#instances.delete(sessionId);
    this.#instances.set(sessionId, instanceId);
    if (this.#instances.size <= this.#maxSessions) return;
    for (const oldest of this.#instances.keys()) {
      if (this.#instances.size <= this.#maxSessions) break;
      this.#instances.delete(oldest);
    }
  }

  get(sessionId: string): string | undefined {
    return sessionId === '' ? undefined : this.#instances.get(sessionId);
  }
}

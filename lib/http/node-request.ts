// One request of node:http as lib/ports/http.ts describes it. What is not asked for is not parsed.
import type { IncomingMessage } from 'node:http';
import { SwitchyardError } from '../../core/errors/switchyard-error.ts';
import type { Clock } from '../ports/clock.ts';
import type { HttpRequest } from '../ports/http.ts';
import { BodyParts } from './body-parts.ts';

/** The rest of a refused body is read and thrown away for so long and so many bytes, so that the client gets to read the refusal. */
const lingerMs = 3000;
const lingerBytes = 64 * 1024 * 1024;

export class NodeRequest implements HttpRequest {
  readonly method: string;
  readonly path: string;
  readonly #search: string;
  readonly #incoming: IncomingMessage;
  readonly #clock: Clock;
  #query: URLSearchParams | undefined;
  #body: Promise<Uint8Array> | undefined;

  constructor(incoming: IncomingMessage, clock: Clock) {
    this.#incoming = incoming;
    this.#clock = clock;
    this.method = incoming.method ?? 'GET';
    const target = incoming.url ?? '/';
    // A proxy may send the absolute form.
    const start = target.startsWith('/') ? 0 : Math.max(0, target.indexOf('/', target.indexOf('://') + 3));
    const question = target.indexOf('?', start);
    this.path = question < 0 ? target.slice(start) : target.slice(start, question);
    this.#search = question < 0 ? '' : target.slice(question + 1);
  }

  get query(): URLSearchParams {
    this.#query ??= new URLSearchParams(this.#search);
    return this.#query;
  }

  get headers(): Readonly<Record<string, string | undefined>> {
    // set-cookie alone could be a list, and clients do not send it.
    return this.#incoming.headers as Record<string, string | undefined>;
  }

  body(maxBytes: number): Promise<Uint8Array> {
    this.#body ??= this.#read(maxBytes);
    return this.#body;
  }

  #read(maxBytes: number): Promise<Uint8Array> {
    const incoming = this.#incoming;
    return new Promise((resolve, reject) => {
      const tooLarge = () => {
        incoming.off('data', take);
        this.#discard();
        reject(new SwitchyardError('body_too_large', `the body is larger than ${maxBytes} bytes`));
      };
      const announced = Number(incoming.headers['content-length'] ?? 0);
      if (announced > maxBytes) {
        tooLarge();
        return;
      }
      const parts = new BodyParts(announced);
      function take(part: Uint8Array): void {
        if (parts.size + part.length > maxBytes) tooLarge();
        else parts.add(part);
      }
      incoming.on('data', take);
      incoming.on('end', () => resolve(parts.whole()));
      incoming.on('close', () => {
        if (!incoming.complete) reject(new SwitchyardError('client_left', 'the client left while it sent the body'));
      });
    });
  }

  #discard(): void {
    const incoming = this.#incoming;
    let discarded = 0;
    const cancel = this.#clock.after(lingerMs, () => {
      if (!incoming.complete) incoming.socket.destroy();
    });
    incoming.once('close', cancel);
    incoming.on('data', (part: Uint8Array) => {
      discarded += part.length;
      if (discarded > lingerBytes) incoming.socket.destroy();
    });
  }
}

// One call whose whole answer is wanted, within a time and a size.
import { SwitchyardError } from '../../core/errors/switchyard-error.ts';
import type { Clock } from '../ports/clock.ts';
import type { Http } from '../ports/http.ts';

export interface Question {
  readonly method?: 'GET' | 'POST';
  readonly url: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | undefined;
  readonly timeoutMs: number;
  /** Of the answer; a larger one is an error. */
  readonly maxBytes: number;
}

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | undefined>>;
  readonly body: Buffer;
}

/** @throws SwitchyardError `unreachable` | `timeout` | `engine_error` (too large) */
export function ask(http: Http, clock: Clock, question: Question): Promise<Answer> {
  const { method = 'GET', url, headers = {}, body, timeoutMs, maxBytes } = question;
  return new Promise((resolve, reject) => {
    let status = 0;
    let answered: Answer['headers'] = {};
    let size = 0;
    const parts: Uint8Array[] = [];
    const call = http.call({
      method,
      url,
      headers,
      body,
      onHead(code, fields) {
        status = code;
        answered = fields;
      },
      onData(bytes) {
        size += bytes.length;
        if (size > maxBytes) give(new SwitchyardError('engine_error', `${url} answers with more than ${maxBytes} bytes`));
        else parts.push(bytes);
      },
      onEnd() {
        cancel();
        resolve({ status, headers: answered, body: Buffer.concat(parts) });
      },
      onFailed(why) {
        cancel();
        reject(why);
      },
    });
    const cancel = clock.after(timeoutMs, () => give(new SwitchyardError('timeout', `${url} does not answer within ${timeoutMs} ms`)));

    /** Up. */
    function give(why: SwitchyardError): void {
      cancel();
      call.abort();
      reject(why);
    }
  });
}

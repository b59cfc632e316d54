// A large file over HTTP, into a file: goes on where an interrupted attempt has stopped, if the server can.
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createReadStream, createWriteStream, statSync } from 'node:fs';

/** Without network this is how long it takes to find out. */
const connectTimeoutMs = 5_000;
/** A download that brings nothing for this long is given up; what has come is kept. */
const stallTimeoutMs = 15_000;

export interface DownloadOptions {
  readonly url: string;
  /** Grows as bytes come, and stays when the download fails. */
  readonly path: string;
  /** More is refused. */
  readonly maxBytes: number;
  readonly onBytes: (bytes: number) => void;
}

/** @throws Error with a reason for a person */
export async function downloadFile({ url, path, maxBytes, onBytes }: DownloadOptions): Promise<void> {
  const control = new AbortController();
  const giveUp = (ms: number, why: string) => setTimeout(() => control.abort(new Error(why)), ms);
  let timer = giveUp(connectTimeoutMs, `no answer within ${connectTimeoutMs / 1000} s`);
  try {
    const have = sizeOf(path);
    const response = await fetch(url, {
      signal: control.signal,
      redirect: 'follow',
      ...(have > 0 && { headers: { range: `bytes=${have}-` } }),
    });
    // 416: nothing is left to send.
    if (response.status === 416 && have > 0) return;
    if (!response.ok || response.body === null) throw new Error(`HTTP ${response.status}`);
    const goesOn = response.status === 206 && response.headers.get('content-range')?.startsWith(`bytes ${have}-`) === true;
    if (response.status === 206 && !goesOn) throw new Error('the server sent another part than the one asked for');
    let bytes = goesOn ? have : 0;
    const file = createWriteStream(path, { flags: goesOn ? 'a' : 'w' });
    try {
      for await (const part of response.body) {
        clearTimeout(timer);
        timer = giveUp(stallTimeoutMs, `nothing came for ${stallTimeoutMs / 1000} s`);
        bytes += part.length;
        if (bytes > maxBytes) throw new Error(`it is larger than ${Math.round(maxBytes / 1e6)} MB`);
        if (!file.write(part)) await once(file, 'drain');
        onBytes(bytes);
      }
    } finally {
      await new Promise<void>((done) => file.end(done));
    }
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause.message : undefined;
    throw new Error(cause ?? (error instanceof Error ? error.message : String(error)));
  } finally {
    clearTimeout(timer);
  }
}

/** SHA-256 in hex. */
export async function checksumOf(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const part of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(part as Buffer);
  return hash.digest('hex');
}

export function sizeOf(path: string): number {
  try {
    return statSync(path).size;
  } catch {
    return 0;
  }
}

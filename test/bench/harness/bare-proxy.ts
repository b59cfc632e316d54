// A program: the least that a proxy in Node can do, as the yardstick. node:http in front, undici dispatch behind, round robin
// over the engines, nothing looked at. Arguments: port, engine URLs.
import { createServer, type ServerResponse } from 'node:http';
import { type Dispatcher, Pool } from 'undici';

const [port, ...engines] = process.argv.slice(2);
const pools = engines.map((url) => new Pool(url, { connections: 256, pipelining: 1, headersTimeout: 0, bodyTimeout: 0 }));
let next = 0;

class Relay implements Dispatcher.DispatchHandler {
  readonly #response: ServerResponse;
  #controller: Dispatcher.DispatchController | undefined;

  constructor(response: ServerResponse) {
    this.#response = response;
    response.on('drain', () => this.#controller?.resume());
    response.on('close', () => {
      if (!response.writableFinished) this.#controller?.abort(new Error('client left'));
    });
  }
  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
  }
  onResponseStart(_: Dispatcher.DispatchController, status: number, headers: Record<string, string | string[] | undefined>): void {
    const { connection, 'keep-alive': keepAlive, 'transfer-encoding': encoding, ...passed } = headers;
    this.#response.writeHead(status, passed);
  }
  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (!this.#response.write(chunk)) controller.pause();
  }
  onResponseEnd(): void {
    this.#response.end();
  }
  onResponseError(): void {
    if (this.#response.headersSent) this.#response.destroy();
    else this.#response.writeHead(502).end();
  }
}

createServer({ keepAliveTimeout: 65_000 }, (request, response) => {
  const pool = pools[next++ % pools.length]!;
  const { host, connection, ...headers } = request.headers;
  const hasBody = request.method !== 'GET';
  pool.dispatch(
    { method: request.method as Dispatcher.HttpMethod, path: request.url!, headers, body: hasBody ? request : null },
    new Relay(response),
  );
}).listen(Number(port), '127.0.0.1');

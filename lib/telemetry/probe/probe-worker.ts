// The probe thread: answers /health, /liveness, /readiness and /metrics from what the main thread last said, so that a
// saturated main loop is not taken for a dead process.
import { createServer, type ServerResponse } from 'node:http';
import { parentPort, workerData } from 'node:worker_threads';
import type { FromProbe, ProbeStart, ToProbe } from './messages.ts';

const start = workerData as ProbeStart;
const heartbeat = new BigInt64Array(start.heartbeat);
let ready: true | string = 'starting';
let metricsText = '';

const silentMs = () => Math.max(0, Date.now() - Number(Atomics.load(heartbeat, 0)));

function answer(response: ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(body), 'cache-control': 'no-store' });
  response.end(body);
}

function heartbeatMetric(): string {
  const name = 'switchyard_heartbeat_age_seconds';
  return `# HELP ${name} Time since the main loop last ran, as the probe thread sees it.\n# TYPE ${name} gauge\n${name} ${silentMs() / 1000}\n`;
}

const server = createServer((request, response) => {
  const path = (request.url ?? '/').split('?')[0];
  if (request.method !== 'GET' && request.method !== 'HEAD') answer(response, 405, 'text/plain', 'method not allowed\n');
  else if (path === '/health' || path === '/liveness') {
    const silent = silentMs();
    const healthy = silent < start.unhealthyAfterMs;
    answer(
      response,
      healthy ? 200 : 503,
      'application/json',
      JSON.stringify({ status: healthy ? 'ok' : 'main loop is stuck', mainLoopSilentMs: silent }),
    );
  } else if (path === '/readiness') {
    const body = ready === true ? { status: 'ready' } : { status: 'not ready', because: ready };
    answer(response, ready === true ? 200 : 503, 'application/json', JSON.stringify(body));
  } else if (path === '/metrics') answer(response, 200, 'text/plain; version=0.0.4; charset=utf-8', metricsText + heartbeatMetric());
  else answer(response, 404, 'text/plain', 'not found; there are /health, /liveness, /readiness and /metrics\n');
});
// Scrapers open few connections; more than this is not a scraper.
server.maxConnections = 200;

const tell = (message: FromProbe) => parentPort?.postMessage(message);
server.on('error', (error: NodeJS.ErrnoException) => tell({ type: 'failed', code: error.code ?? '', message: error.message }));
server.listen(start.port, start.host, () => {
  const address = server.address();
  tell({ type: 'listening', port: address !== null && typeof address === 'object' ? address.port : start.port });
});

parentPort?.on('message', (message: ToProbe) => {
  if (message.type === 'state') ready = message.ready;
  else if (message.type === 'metrics') metricsText = message.text;
  else {
    server.close();
    server.closeAllConnections();
    parentPort?.close();
  }
});

// The probe thread: answers /health, /liveness and /readiness from what the main thread last said, so that a saturated main
// loop is not taken for a dead process. /metrics is asked of the main thread, which renders them for whoever looks and for
// nobody else; while it is busy the last answer is given, with its age.
import { createServer, type ServerResponse } from 'node:http';
import { parentPort, workerData } from 'node:worker_threads';
import { systemClock } from '../../clock/system-clock.ts';
import { metrics as declared } from '../metrics.ts';
import type { FromProbe, ProbeStart, ToProbe } from './messages.ts';

const start = workerData as ProbeStart;
const heartbeat = new BigInt64Array(start.heartbeat);
let ready: true | string = 'starting';
let metrics = { text: '', atMs: Date.now() };
/** Whoever waits for the metrics; one question to the main thread is for all of them. */
let scrapers: (() => void)[] = [];
let asked = 0;
/** A busy main loop is waited for so long. A scraper waits ten seconds as a rule; probes do not come by here. */
const metricsWithinMs = 250;
/** A beat comes every 100 ms: a main loop that is silent for longer than this is not waited for. */
const busyAfterMs = 250;

const silentMs = () => Math.max(0, Date.now() - Number(Atomics.load(heartbeat, 0)));

function answer(response: ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(body), 'cache-control': 'no-store' });
  response.end(body);
}

/** Metrics of this thread. */
function ownMetrics(): string {
  const gauge = (name: keyof typeof declared, seconds: number) =>
    `# HELP ${name} ${declared[name].help}\n# TYPE ${name} ${declared[name].type}\n${name} ${seconds}\n`;
  const ageMs = Math.max(0, Date.now() - metrics.atMs);
  return gauge('switchyard_heartbeat_age_seconds', silentMs() / 1000) + gauge('switchyard_metrics_age_seconds', ageMs / 1000);
}

function answerMetrics(response: ServerResponse): void {
  const send = () => answer(response, 200, 'text/plain; version=0.0.4; charset=utf-8', metrics.text + ownMetrics());
  const underWay = scrapers.length > 0;
  if (silentMs() > busyAfterMs) {
    send();
    return;
  }
  const waiting = () => {
    patience();
    send();
  };
  const patience = systemClock.after(metricsWithinMs, () => {
    scrapers = scrapers.filter((one) => one !== waiting);
    send();
  });
  scrapers.push(waiting);
  if (!underWay) tell({ type: 'scrape', number: ++asked });
}

function takeMetrics({ text, atMs, number }: Extract<ToProbe, { type: 'metrics' }>): void {
  metrics = { text, atMs };
  if (number < asked) return;
  const waiting = scrapers;
  scrapers = [];
  for (const scraper of waiting) scraper();
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
  } else if (path === '/metrics') answerMetrics(response);
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
  else if (message.type === 'metrics') takeMetrics(message);
  else {
    server.close();
    server.closeAllConnections();
    parentPort?.close();
  }
});

// What KV transfer makes of the link between two agents: `npm run bench:transfer`. A stage of 1 GB goes from this process to
// another over loopback, checked and put in its place there, beside as many raw sockets that send as much to a reader which
// throws it away. Then with slow connections: all alike, one at a tenth of the others' speed, one that is lost half-way.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { join } from 'node:path';
import { planTransfer } from '../../core/migration/transfer-plan.ts';
import { systemClock } from '../../lib/clock/system-clock.ts';
import { sendStage } from '../../lib/kv/kv-sender.ts';
import { createTurns } from '../../lib/kv/turns.ts';
import { createNodeNet } from '../../lib/net/node-net.ts';
import type { StageSource } from '../../lib/ports/engines.ts';
import type { Net } from '../../lib/ports/net.ts';
import { cpuMicrosOf } from './harness/process-cost.ts';
import type { PriceTable } from './harness/report.ts';
import { type BenchRun, runBench } from './harness/run-bench.ts';
import { percentile } from './harness/statistics.ts';
import { startThrottle } from './harness/throttle.ts';

const blockBytes = 1 << 20;
const blockCount = 1_024;
const rawWriteBytes = 256 * 1024;

interface Sink {
  readonly kv: string;
  readonly rawPort: number;
  readonly pid: number;
}

async function startSink(run: BenchRun): Promise<Sink> {
  const child = fork(join(import.meta.dirname, 'harness/kv-sink.ts'), [String(blockCount)]);
  run.atEnd(async () => {
    const ended = once(child, 'exit');
    child.kill();
    await ended;
  });
  const [addresses] = (await once(child, 'message')) as [Omit<Sink, 'pid'>];
  return { ...addresses, pid: child.pid! };
}

/** Each connection sends its part in large pieces as fast as it is taken. */
async function sendRaw(port: number, bytes: number, connections: number, memory: Buffer): Promise<void> {
  await Promise.all(
    Array.from({ length: connections }, async () => {
      const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
      await once(socket, 'connect');
      for (let sent = 0; sent < bytes / connections; sent += rawWriteBytes) {
        const at = sent % (memory.length - rawWriteBytes);
        if (!socket.write(memory.subarray(at, at + rawWriteBytes))) await once(socket, 'drain');
      }
      socket.end();
      await once(socket, 'data');
    }),
  );
}

interface SendOptions {
  readonly net?: Net;
  readonly blocks?: number;
}

let stages = 0;

async function sendKv(sink: Sink, connections: number, memory: Buffer, { net = createNodeNet(systemClock), blocks = blockCount }: SendOptions = {}) {
  const version = 1;
  const source: StageSource = {
    blockBytes,
    blocks: Array.from({ length: blocks }, (_, block) => ({ block, version })),
    versions: Array.from({ length: blocks }, () => version),
    state: new Uint8Array(0),
    nextIndex: 0,
    pausedAtMs: 0,
    read: (block, offset, bytes) => memory.subarray(block * blockBytes + offset, block * blockBytes + offset + bytes),
    confirmed: () => ({ blocksRemaining: 0 }),
  };
  const names = { address: sink.kv, reservationId: `bench-${++stages}`, transferToken: 't', stage: 0, traceparent: '' };
  const sent = await sendStage({
    ...{ net, clock: systemClock, source, turns: createTurns(systemClock), ...names },
    ...{ last: false, connections, timeoutMs: 120_000 },
  });
  if ('code' in sent) throw new Error(`the stage failed: ${sent.code} ${sent.message}`);
  return sent;
}

interface Taken {
  readonly seconds: number;
  readonly senderMicrosPerMb: number;
  readonly receiverMicrosPerMb: number;
}

async function timed(sink: Sink, bytes: number, work: () => Promise<unknown>): Promise<Taken> {
  const before = { ours: cpuMicrosOf([process.pid]), theirs: cpuMicrosOf([sink.pid]), ms: performance.now() };
  await work();
  const seconds = (performance.now() - before.ms) / 1000;
  const perMb = (micros: number) => (micros / bytes) * 1e6;
  return {
    seconds,
    senderMicrosPerMb: perMb(cpuMicrosOf([process.pid]) - before.ours),
    receiverMicrosPerMb: perMb(cpuMicrosOf([sink.pid]) - before.theirs),
  };
}

const median = (all: readonly number[]) => percentile(all, 0.5);

async function speeds(run: BenchRun, sink: Sink, memory: Buffer): Promise<PriceTable> {
  const rounds = run.mode === 'full' ? 5 : 2;
  const bytes = blockBytes * blockCount;
  const rows: (string | number)[][] = [];
  for (const connections of [1, 2, 4]) {
    const raw: Taken[] = [];
    const kv: Taken[] = [];
    for (let round = 0; round <= rounds; round++) {
      const [one, other] = [
        await timed(sink, bytes, () => sendRaw(sink.rawPort, bytes, connections, memory)),
        await timed(sink, bytes, () => sendKv(sink, connections, memory)),
      ];
      // The first one warms up.
      if (round > 0) raw.push(one) && kv.push(other);
    }
    const rate = (all: readonly Taken[]) => bytes / 1e6 / median(all.map(({ seconds }) => seconds));
    run.say(`${connections} connections: raw ${Math.round(rate(raw))} MB/s, KV ${Math.round(rate(kv))} MB/s`);
    const cpu = (all: readonly Taken[]) => [
      median(all.map(({ senderMicrosPerMb }) => senderMicrosPerMb)),
      median(all.map(({ receiverMicrosPerMb }) => receiverMicrosPerMb)),
    ];
    rows.push([connections, rate(raw), rate(kv), rate(kv) / rate(raw), ...cpu(raw), ...cpu(kv)]);
  }
  return {
    title: '1 GB of KV over loopback, beside raw sockets',
    columns: ['connections', 'raw MB/s', 'KV MB/s', 'KV / raw', 'raw: sender us/MB', 'receiver us/MB', 'KV: sender us/MB', 'receiver us/MB'],
    rows,
    notes: [
      `Medians of ${rounds}. The raw reader throws away what it reads; ours checks every piece (GMAC on both sides) and copies it to its place.`,
    ],
  };
}

/** The most that a connection carries, by ideal: what decides when a transfer is done. */
function loads(): PriceTable {
  const paths = 8;
  const most = (perPath: readonly number[]) => Math.max(...perPath);
  const rows = [3, 12, 28, 61].map((flows) => {
    const ideal = flows / paths;
    const planned = Array.from({ length: paths }, () => 0);
    const pieces = planTransfer(
      Array.from({ length: flows }, (_, block) => block),
      blockBytes,
      planned.map(() => 1),
    );
    for (const { connection, bytes } of pieces) planned[connection]! += bytes / blockBytes;
    const hashed = Array.from({ length: 2_000 }, (_, trial) => {
      const load = Array.from({ length: paths }, () => 0);
      for (let flow = 0; flow < flows; flow++) load[hash(trial * 1_000 + flow) % paths]! += 1;
      return most(load) / ideal;
    });
    const mean = hashed.reduce((sum, each) => sum + each, 0) / hashed.length;
    return [flows, mean, Math.ceil(ideal) / ideal, most(planned) / ideal, pieces.length - flows, flows * (paths - 1)];
  });
  return {
    title: 'The fullest of 8 connections, by the ideal load',
    columns: ['equal blocks', 'by hash', 'whole blocks in turn', 'split plan', 'extra pieces', 'if all were sprayed'],
    rows,
    notes: ['By hash: the mean of 2,000 draws. papers: arXiv 2407.00550 (Ethereal); the split plan is core/migration/transfer-plan.ts.'],
  };
}

/** Spreads neighbours widely (the finaliser of MurmurHash3). */
function hash(value: number): number {
  let mixed = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}

async function slowLinks(run: BenchRun, sink: Sink, memory: Buffer): Promise<PriceTable> {
  const connections = 8;
  const bytesPerSecond = 8e6;
  const blocks = run.mode === 'full' ? 60 : 12;
  const bytes = blocks * blockBytes;
  const inner = createNodeNet(systemClock);
  const over = async (name: string, speeds: readonly number[], loseAfterBytes?: number) => {
    const throttle = await startThrottle(sink.kv, speeds, loseAfterBytes);
    const net: Net = { listen: inner.listen, connect: (_, options) => inner.connect(throttle.next(), options) };
    const { seconds } = await timed(sink, bytes, () => sendKv(sink, connections, memory, { net, blocks }));
    await throttle.close();
    const survivors = loseAfterBytes === undefined ? speeds : speeds.slice(1);
    const idealSeconds = bytes / survivors.reduce((sum, each) => sum + each, 0);
    run.say(`${name}: ${seconds.toFixed(2)} s, ideal ${idealSeconds.toFixed(2)} s`);
    return [name, seconds, idealSeconds, seconds / idealSeconds];
  };
  const alike = Array.from({ length: connections }, () => bytesPerSecond);
  const oneSlow = [bytesPerSecond / 10, ...alike.slice(1)];
  return {
    title: `${Math.round(bytes / 1e6)} MB over ${connections} connections of ${bytesPerSecond / 1e6} MB/s`,
    columns: ['connections', 'took, s', 'ideal, s', 'took / ideal'],
    rows: [await over('all alike', alike), await over('one at a tenth of the speed', oneSlow), await over('one lost after 1 MB', alike, 1e6)],
    notes: ['Ideal: all bytes over the speeds of all connections that last.'],
  };
}

await runBench('transfer', async (run) => {
  const memory = Buffer.alloc(blockBytes * blockCount, 7);
  const sink = await startSink(run);
  const parts = { speed: () => speeds(run, sink, memory), plan: async () => loads(), slow: () => slowLinks(run, sink, memory) };
  const wanted = Object.entries(parts).filter(([name]) => run.only.length === 0 || run.only.includes(name));
  const tables: PriceTable[] = [];
  for (const [, measure] of wanted) tables.push(await measure());
  return tables;
});

// A program: how late the machine wakes a process that asked to sleep 1 ms, for as long as it is told (ms, its only argument).
// Nothing of the event loop is in it: what it prints is what the machine adds to every measured latency.
import { timerLateness } from './report.ts';
import { percentile } from './statistics.ts';

const untilMs = performance.now() + Number(process.argv[2]);
const late: number[] = [];
while (performance.now() < untilMs) late.push(...timerLateness(20));
process.stdout.write(JSON.stringify({ p50: percentile(late, 0.5), p95: percentile(late, 0.95), p99: percentile(late, 0.99) }));

// The gateway is given all it can do; how long its readiness takes to answer meanwhile.
import { setTimeout as pause } from 'node:timers/promises';
import { expect } from 'vitest';
import type { ScrapeTarget } from '../../../lib/operator/types.ts';
import { runLoad } from '../../bench/harness/load-plan.ts';
import { percentile } from '../../bench/harness/statistics.ts';
import { form } from '../form.ts';
import { probeNames } from '../others.ts';
import type { Probe } from '../probe.ts';
import { fastModel, type ProbeFleet } from '../probe-fleet.ts';

const limitMs = 20;
const clients = 64;
const betweenMs = 20;

async function probePort(fleet: ProbeFleet): Promise<string> {
  const targets = await fleet.world.fleet.client('probes').get<ScrapeTarget[]>('/scrape-targets');
  return `http://${targets.find(({ labels }) => labels.process === 'gateway-1')?.targets[0]}`;
}

export const underLoad: Probe = {
  name: probeNames.underLoad,
  mustHold: `less than ${limitMs} ms`,
  async run(fleet) {
    const thread = await probePort(fleet);
    const tookMs: { readonly api: number[]; readonly thread: number[] } = { api: [], thread: [] };
    let loading = true;
    const load = runLoad({
      url: fleet.url,
      headers: { authorization: `Bearer ${fleet.world.key.secret}` },
      model: fastModel,
      bodyBytes: 1_000,
      tokens: 8,
      stream: true,
      count: form.load,
      atOnce: clients,
      seed: 'probes',
    }).finally(() => {
      loading = false;
    });
    // The load program takes a moment to start.
    await pause(300);
    const look = async (url: string, times: number[]) => {
      const startMs = performance.now();
      const { status } = await fetch(`${url}/readiness`);
      if (!loading) return;
      times.push(performance.now() - startMs);
      expect(status).toBe(200);
    };
    while (loading) {
      await look(fleet.url, tookMs.api);
      await look(thread, tookMs.thread);
      await pause(betweenMs);
    }
    const { count, wallMs } = await load;
    const p50 = percentile(tookMs.thread, 0.5);
    const shown = (times: readonly number[]) => `${percentile(times, 0.5).toFixed(1)} ms (worst ${Math.max(...times).toFixed(0)})`;
    return {
      says: `${shown(tookMs.thread)} on the probe port, ${shown(tookMs.api)} on the API's, at ${Math.round((count * 1000) / wallMs)} requests a second`,
      timings: [
        { what: 'the probe port answered after', ms: p50, limitMs },
        { what: "the API's port answered after", ms: percentile(tookMs.api, 0.5), limitMs },
      ],
    };
  },
};

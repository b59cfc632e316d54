// The simulated engine's speed against the profile that it claims, and what it says when its memory runs out.
import { describe, expect, test } from 'vitest';
import { coefficientsOf, engineFacts, type ProfileName } from '../../../core/engine/profiles.ts';
import { stepMs } from '../../../core/engine/step-model.ts';
import { expectedFromIds } from '../../../core/engine/token-function.ts';
import { VirtualClock } from '../../clock/virtual-clock.ts';
import { simEngineSchema } from '../../config/fleet.ts';
import type { GenerateRequest } from '../../ports/engines.ts';
import { SimEngine } from './sim-engine.ts';

const model = 'llama-3.1-8b';

class Bench {
  readonly clock = new VirtualClock();
  readonly startMs = this.clock.now();
  /** When each token of each request came, from the start, ms. */
  readonly cameMs = new Map<string, number[]>();
  readonly ids = new Map<string, number[]>();
  readonly preempted: string[] = [];
  readonly engine: SimEngine;
  #open = 0;

  constructor(sim: Record<string, unknown>) {
    const config = simEngineSchema.parse({ blocks: 4096, kvBytesPerToken: 8, maxRunning: 64, ...sim });
    this.engine = new SimEngine({
      model,
      config,
      clock: this.clock,
      hooks: {
        onEvents: (events) => {
          for (const { requestId, tokenIds, finishReason } of events) {
            this.cameMs.get(requestId)!.push(...tokenIds.map(() => this.clock.now() - this.startMs));
            this.ids.get(requestId)!.push(...tokenIds);
            if (finishReason !== '') this.#open--;
          }
        },
        onLifecycle: ({ requestId, type }) => {
          if (type === 'preempted') this.preempted.push(requestId);
        },
        onChange: () => {},
      },
    });
  }

  prompt(requestId: string, tokens: number): number[] {
    const seed = Number(requestId.slice(1)) + 1;
    return Array.from({ length: tokens }, (_, index) => 1000 + ((index * seed) % 20_000));
  }

  open(requestId: string, promptTokens: number, outputTokens: number): void {
    const body = Buffer.from(JSON.stringify({ prompt: this.prompt(requestId, promptTokens), max_tokens: outputTokens }));
    this.cameMs.set(requestId, []);
    this.ids.set(requestId, []);
    this.#open++;
    const request: GenerateRequest = {
      ...{ requestId, epoch: 1, endpoint: 'completions', body, clientStreams: true, resumeTokenIds: [], resumeText: '', reservationId: '' },
      ...{ priority: 0, arrivalMs: this.clock.now(), createdS: 0, includeUsage: false, gatewayId: 'g', traceparent: '', nextIndex: 0 },
      ...{ maxOutputTokens: 0, promptTokens: 0, serviceTier: '', keyId: '', sloClass: 'standard' },
    };
    expect(this.engine.open(request, false)).toBeUndefined();
  }

  async run(): Promise<void> {
    await this.clock.until(() => this.#open === 0, 600_000);
    this.engine.close();
  }

  ttftMs(requestId: string): number {
    return this.cameMs.get(requestId)![0]!;
  }

  /** Between the tokens of these indexes. */
  tpotMs(requestId: string, from = 0, to = this.cameMs.get(requestId)!.length - 1): number {
    const came = this.cameMs.get(requestId)!;
    return (came[to]! - came[from]!) / (to - from);
  }
}

describe.each(Object.keys(engineFacts) as ProfileName[])('profile %s', (profile) => {
  const facts = engineFacts[profile];

  test.each([1, 0.25])(
    'at speed %d: the time to the first token is the measured prefill, the time for each further one the measured step',
    async (speed) => {
      for (const [index, tokens] of [512, 2048, 8192].entries()) {
        const bench = new Bench({ profile, speed, prefillChunk: 8192 });
        bench.open('r0', tokens, 20);
        await bench.run();
        expect(bench.ttftMs('r0') * speed).toBeCloseTo(facts.prefillMs[index]!, 3);
        expect(Math.abs((bench.tpotMs('r0') * speed) / facts.decodeMs[0] - 1)).toBeLessThan(0.08);
      }
    },
  );

  test.each([16, 64])('a batch of %d decodes together at the measured step', async (batch) => {
    const bench = new Bench({ profile, prefillChunk: 8192, prefixCache: false });
    for (let i = 0; i < batch; i++) bench.open(`r${i}`, 64, 50);
    await bench.run();
    const measuredMs = facts.decodeMs[batch === 16 ? 1 : 2];
    // Until the tenth token some of them compute their prompts.
    for (let i = 0; i < batch; i++) expect(Math.abs(bench.tpotMs(`r${i}`, 10, 40) / measuredMs - 1)).toBeLessThan(0.08);
  });

  test('a long prompt in chunks delays those that decode by its chunks, never by the whole of it', async () => {
    const bench = new Bench({ profile, prefillChunk: 512 });
    bench.open('r0', 64, 60);
    await bench.clock.until(() => bench.cameMs.get('r0')!.length === 10, 10_000);
    bench.open('r1', 4096, 2);
    await bench.run();
    const came = bench.cameMs.get('r0')!;
    const longestMs = Math.max(...came.slice(1).map((ms, index) => ms - came[index]!));
    const lastChunkMs = stepMs(coefficientsOf(profile), 1, [{ before: 4096 - 512, tokens: 512 }]);
    expect(longestMs).toBeCloseTo(lastChunkMs, 3);
    expect(longestMs).toBeLessThan(facts.prefillMs[1]);
  });
});

test('without room for all, some give their blocks up and are computed again: each says what it would have said alone', async () => {
  const bench = new Bench({ profile: 'llama-3.1-8b-h100', blocks: 40, blockTokens: 16, maxContextTokens: 640 });
  const requests = Array.from({ length: 6 }, (_, index) => `r${index}`);
  for (const id of requests) bench.open(id, 80, 200);
  await bench.run();
  expect(bench.preempted.length).toBeGreaterThan(0);
  for (const id of requests) expect(bench.ids.get(id)).toEqual(expectedFromIds(model, bench.prompt(id, 80), 200).ids);
});

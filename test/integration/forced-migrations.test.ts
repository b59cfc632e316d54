import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CommandFailure } from '../../cli/client.ts';
import { replay } from '../../cli/replay/replay.ts';
import type { MigrationsReport, MoveAnswer } from '../../lib/operator/types.ts';
import { seededRng } from '../../lib/rng/seeded-rng.ts';
import { azureMinute } from '../support/azure-minute.ts';
import { eventually } from '../support/eventually.ts';
import { type Fleet, startFleet } from '../support/fleet.ts';
import { problems } from './live-streams.ts';

const wantedMigrations = 200;
const atOnce = 6;

function count(counts: Map<string, number>, code: string): void {
  counts.set(code, (counts.get(code) ?? 0) + 1);
}

describe('forced migrations in a replayed minute of the Azure code trace', () => {
  let fleet: Fleet;
  beforeAll(async () => {
    fleet = await startFleet({
      pools: [
        {
          id: 'chat',
          models: ['llama-3.1-8b'],
          instances: 4,
          max: 4,
          // Slow enough that answers of some dozen tokens live for seconds.
          sim: { profile: 'llama-3.1-8b-h100', speed: 0.05, blocks: 4096, kvBytesPerToken: 1024, maxRunning: 64, maxWaiting: 64 },
        },
      ],
      settings: { 'migration-coordinator': { mode: 'off' } },
    });
  });
  afterAll(() => fleet?.stop());

  it(`moves random running requests ${wantedMigrations} times: no token lost, repeated, out of order or wrong, no block leaked`, async () => {
    const { rows, recorded } = azureMinute();
    const rng = seededRng(7);
    let replaying = true;
    const minute = (seed: number) =>
      replay(rows, {
        url: fleet.gatewayUrl,
        model: 'llama-3.1-8b',
        apiKey: '',
        speed: 1,
        untilMs: 60_000,
        maxRequests: 1000,
        maxInFlight: 256,
        maxPromptTokens: 7_500,
        maxOutputTokens: 500,
        sloClass: 'default',
        seed,
      });

    const operator = fleet.client('mover');
    let begun = 0;
    const refused = new Map<string, number>();
    const aborted = new Map<string, number>();
    async function mover(): Promise<void> {
      while (replaying && begun < wantedMigrations) {
        const running = (await fleet.requests()).filter((request) => request.state === 'streaming');
        const chosen = running[Math.floor(rng.next() * running.length)];
        if (!chosen) continue;
        begun++;
        try {
          const move = await operator.post<MoveAnswer>('/migrate', { request: chosen.id, to: '' });
          await eventually(`${move.workflowId} ends`, 30_000, async () => {
            const { active, recent } = await operator.get<MigrationsReport>('/migrations');
            const over = !active.some((plan) => plan.migrationId === move.plan.migrationId);
            const code = recent.find((ended) => ended.migrationId === move.plan.migrationId)?.code;
            if (over && code) count(aborted, code);
            return { ok: over, seen: active };
          });
        } catch (thrown) {
          if (!(thrown instanceof CommandFailure && thrown.exitCode === 4)) throw thrown;
          begun--;
          count(refused, thrown.code);
        }
      }
    }
    const movers = Array.from({ length: atOnce }, mover);
    const results: Awaited<ReturnType<typeof minute>>['results'][number][] = [];
    // One minute is enough for a machine that has nothing else to do.
    let minutes = 0;
    do results.push(...(await minute(++minutes)).results);
    while (begun < wantedMigrations && minutes < 4);
    replaying = false;
    await Promise.all(movers);
    const report = await operator.get<MigrationsReport>('/migrations');
    const minutesSaid = `${recorded ? 'recorded' : 'generated'} minutes: ${minutes}, ${results.length} requests`;
    const codes = (counts: ReadonlyMap<string, number>) => JSON.stringify(Object.fromEntries(counts));
    console.log(
      `${minutesSaid}, ${begun} migrations: ${report.committed} committed, ${report.aborted} aborted: ${codes(aborted)}; refused: ${codes(refused)}`,
    );

    expect(problems(results)).toEqual([]);
    expect(begun).toBeGreaterThanOrEqual(wantedMigrations);
    expect(report.active).toEqual([]);
    expect(report.committed + report.aborted).toBe(begun);
    expect(report.committed).toBeGreaterThan(wantedMigrations / 2);
    // Nobody's doing: its last token came while it was moved.
    expect([...aborted.keys()].filter((code) => code !== 'sequence_finished' && code !== 'unknown_request')).toEqual([]);
    await eventually('every block is free on every instance', 10_000, async () => {
      const instances = await fleet.instances();
      return {
        ok: instances.every((row) => row.running === 0 && row.queued === 0 && row.reservedBlocks === 0 && row.freeBlocks === row.totalBlocks),
        seen: instances,
      };
    });
  }, 330_000);
});

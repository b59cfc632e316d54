// The process of one of the two engines dies in the middle of a move, whenever that is: the request says its tokens to the end,
// exactly, the adapters live on with a new process, and nothing is left behind.
import { beforeAll, describe, expect, test } from 'vitest';
import type { Refusal } from '../../proto/gen/messages.ts';
import { eventually } from '../support/eventually.ts';
import type { Conversation } from './conversation.ts';
import { llamaMissing, llamaPackage } from './llama-package.ts';
import { childProcesses, exactPair, filesOfStates, type LlamaRig, skipTime } from './llama-rig.ts';
import { type MoveMode, type MovePhase, move } from './moves.ts';

const ask = { maxTokens: 400, temperature: 0.9, seed: 11, prompt: 'What is beyond the hill?' };
/** An engine that has lived for longer is started again at once. */
const minuteMs = 61_000;
const phases: Record<'stop_and_copy' | 'follow', readonly MovePhase[]> = {
  stop_and_copy: ['reserved', 'paused', 'saved', 'copied', 'loaded', 'committed', 'released'],
  follow: ['reserved', 'saved', 'copied', 'loaded', 'followed', 'paused', 'committed', 'released'],
};
const cases = (['source', 'target'] as const).flatMap((victim) =>
  (['stop_and_copy', 'follow'] as const).flatMap((mode: MoveMode & keyof typeof phases) => phases[mode].map((phase) => ({ victim, mode, phase }))),
);

describe.skipIf(!llamaPackage)(`kill -9 of an engine's process${llamaMissing}`, () => {
  const others = new Set<number>();
  beforeAll(() => {
    for (const pid of childProcesses()) others.add(pid);
  });
  const pair = exactPair(ask);

  const up = (rig: LlamaRig) => eventually('a new process', 30_000, () => ({ ok: rig.pid !== undefined, seen: rig.pid }));

  /** As a gateway does it: what has failed is continued from its tokens, wherever an engine takes it. */
  async function finish(conversation: Conversation): Promise<number> {
    const { a, b } = pair;
    let failures = 0;
    for (;;) {
      await conversation.until(() => conversation.finishReason !== '' || conversation.error !== undefined, 'its end or a failure');
      if (conversation.finishReason !== '') return failures;
      failures++;
      await eventually('an engine that takes it', 30_000, () => {
        const refused: (Refusal | undefined)[] = [];
        for (const { engine } of [a, b]) {
          refused.push(conversation.recomputeOn(engine));
          if (refused.at(-1) === undefined) return { ok: true, seen: '' };
        }
        return { ok: false, seen: refused };
      });
    }
  }

  test.each(cases)('of the $victim, $mode, after: $phase', async ({ victim, mode, phase }) => {
    const { a, b, reference } = pair;
    await Promise.all([up(a), up(b)]);
    skipTime(minuteMs);
    const conversation = a.open({ ...ask, id: `${victim} ${mode} ${phase}` });
    await conversation.tokens(12);
    const dying = victim === 'source' ? a : b;
    const { pid } = dying;
    let killed = false;
    const refused = await move(conversation, a, b, {
      mode,
      at: (reached) => {
        if (reached !== phase || killed) return;
        killed = true;
        process.kill(pid!, 'SIGKILL');
      },
    });
    expect(killed, refused?.message).toBe(true);
    const failures = await finish(conversation);
    expect(conversation.ids).toEqual(reference);
    expect(conversation.contradictions).toEqual([]);
    // The other engine lives: at most the one that had the request has failed it.
    expect(failures).toBeLessThanOrEqual(1);
    if (victim === 'target' && refused) expect([failures, conversation.epoch]).toEqual([0, 1]);
    await eventually('the end of the process', 10_000, () => ({ ok: dying.pid !== pid, seen: dying.pid }));
  });

  test('nothing is left', async () => {
    const { a, b } = pair;
    await Promise.all([up(a), up(b)]);
    for (const { engine } of [a, b]) {
      expect([engine.size, engine.status().running, engine.status().waiting, engine.status().reservedBlocks]).toEqual([0, 0, 0, 0]);
      expect(engine.status().freeBlocks).toBe(engine.status().totalBlocks);
    }
    expect(childProcesses().filter((pid) => !others.has(pid))).toHaveLength(2);
    expect(filesOfStates()).toEqual([]);
    await a.close();
    await b.close();
    expect(childProcesses().filter((pid) => !others.has(pid))).toEqual([]);
  });
});

// The model of `npm start`: the same conversation with and without three moves of each answer is the same text, when the KV cache is
// copied at once. When the target follows it may differ: that is printed. Skipped where SmolLM2 is not in the cache: nothing is fetched
// for tests.
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { provideModel } from '../../infra/setup/models.ts';
import { noProgress } from '../../infra/setup/progress.ts';
import type { MigrationsReport, MoveAnswer } from '../../lib/operator/types.ts';
import { llamaMissing, llamaPackage } from '../engines/llama-package.ts';
import { eventually } from '../support/eventually.ts';
import { type Fleet, startFleet } from '../support/fleet.ts';

const file = await provideModel('smollm2', '.', noProgress, { onlyFound: true }).catch(() => undefined);
const missing = file === undefined ? ' (skipped: SmolLM2 is not in the cache; npm start fetches it)' : llamaMissing;
const model = 'smollm2-135m-instruct';
const moves = 3;
const neverBytes = 1_000_000_000_000;
const questions = ['What is it like to live on the moon? Tell me about a whole week there, day by day.', 'And who came to visit? Tell me more.'];
/** Between two moves, and before the first. */
const piecesBetween = 25;

describe.skipIf(file === undefined || llamaPackage === undefined)(`SmolLM2${missing}`, () => {
  let fleet: Fleet;
  beforeAll(async () => {
    fleet = await startFleet({
      pools: [
        {
          ...{ id: 'smollm2', models: [model], engine: 'llama', instances: 2 },
          // A prompt of which a part is there from before is computed in other batches.
          llama: { model: 'smollm2', maxRunning: 2, prefixCache: false },
        },
      ],
      settings: { agent: { llamaPackage, models: { smollm2: file } }, 'migration-coordinator': { followFromBytes: neverBytes } },
    });
  });
  afterAll(() => fleet?.stop());

  async function moved(id: string, times: number): Promise<void> {
    await fleet.client('test').post<MoveAnswer>('/migrate', { request: id, to: '' });
    await eventually(`move ${times} of ${id}`, 20_000, async () => {
      const rows = await fleet.requests();
      return { ok: rows.some((row) => row.id === id && row.migrations === times && row.state === 'streaming'), seen: rows };
    });
  }

  /**
   * The answers to the questions, one after the other. Each is moved so often while it streams. `before`: what the assistant is told that it
   * has said, so that a later answer can be compared although an earlier one differs.
   */
  async function converse(times: number, before?: readonly string[]): Promise<string[]> {
    const client = new OpenAI({ baseURL: `${fleet.gatewayUrl}/v1`, apiKey: 'not-needed', maxRetries: 0 });
    const messages: OpenAI.ChatCompletionMessageParam[] = [];
    const answers: string[] = [];
    for (const [index, question] of questions.entries()) {
      messages.push({ role: 'user', content: question });
      const stream = await client.chat.completions.create({ model, messages, seed: 5, frequency_penalty: 0.2, max_tokens: 260, stream: true });
      let [text, pieces, due, done] = ['', 0, piecesBetween, 0];
      let moving: Promise<void> = Promise.resolve();
      for await (const { id, choices } of stream) {
        text += choices[0]?.delta.content ?? '';
        if (++pieces < due || done === times) continue;
        due = Number.POSITIVE_INFINITY;
        moving = moved(id.replace('chatcmpl-', ''), ++done).then(() => {
          due = pieces + piecesBetween;
        });
        moving.catch(() => {});
      }
      await moving;
      expect(done).toBe(times);
      messages.push({ role: 'assistant', content: before?.[index] ?? text });
      answers.push(text);
    }
    return answers;
  }

  const report = () => fleet.client('test').get<MigrationsReport>('/migrations');
  /** How many characters are the same from the beginning, of how many. */
  const agreement = (unmoved: readonly string[], other: readonly string[]) =>
    unmoved.map((text, index) => {
      const differs = [...text].findIndex((letter, at) => letter !== other[index]![at]);
      return differs < 0 ? `all ${text.length}` : `${differs} of ${text.length}`;
    });

  test(`says the same, whether each answer is moved ${moves} times or not`, { timeout: 300_000 }, async () => {
    const unmoved = await converse(0);
    expect(await converse(moves)).toEqual(unmoved);
    const copied = await report();
    expect(copied.recent.map(({ mode }) => mode)).toEqual(Array(moves * questions.length).fill('stop_and_copy'));

    fleet.configure('migration-coordinator', { followFromBytes: 0 });
    await eventually('the coordinator follows', 10_000, () => {
      const log = fleet.log('migration-coordinator-1');
      return { ok: log.includes('configuration taken'), seen: log.slice(-300) };
    });
    const followed = await converse(moves, unmoved);
    const { recent } = await report();
    const pauses = (mode: string) =>
      recent.flatMap((row) => (row.mode === mode ? [`${Math.round(row.downtimeMs)} ms after ${row.bytes >> 20} MB`] : [])).join(', ');
    console.log(
      [
        `SmolLM2, ${questions.length} answers, ${moves} moves each.`,
        `copied at once: all of ${unmoved.map((text) => text.length).join(' and ')} characters as without a move; paused for ${pauses('stop_and_copy')}`,
        `followed: the same as without a move are ${agreement(unmoved, followed).join(' and ')} characters; paused for ${pauses('follow')}`,
        'What differs is no loss: a model of ordinary shape adds in another order when the target computes several tokens at once.',
        `${unmoved[0]!.slice(0, 300)}…`,
      ].join('\n'),
    );
  });
});

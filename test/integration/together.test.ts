// Gateway, admission and router in one process, the others on their own: requests are served, each service is listed under its own
// name, and the process ends as the three would have.
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { StatusReport } from '../../lib/operator/types.ts';
import { type Fleet, startFleet } from '../support/fleet.ts';

let fleet: Fleet;
beforeAll(async () => {
  fleet = await startFleet({
    pools: [{ id: 'chat', models: ['llama-3.1-8b'], instances: 2, max: 2, sim: { profile: 'llama-3.1-8b-h100' } }],
    together: ['gateway', 'admission', 'router'],
  });
}, 120_000);
afterAll(() => fleet?.stop());

const ask = (tokens: number, stream: boolean) =>
  fetch(`${fleet.gatewayUrl}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'llama-3.1-8b', stream, max_tokens: tokens, messages: [{ role: 'user', content: 'hello' }] }),
  });

async function bodyOf(response: Response): Promise<string> {
  expect(response.status).toBe(200);
  return response.text();
}

test('serves, and each of the three is listed under its own name, with the process they share', async () => {
  const answers = await Promise.all(Array.from({ length: 20 }, async () => JSON.parse(await bodyOf(await ask(8, false)))));
  expect(answers.map((answer) => answer.usage.completion_tokens)).toEqual(Array(20).fill(8));
  const { services } = await fleet.client('test').get<StatusReport>('/status');
  const front = services.filter(({ pid }) => pid === fleet.pid('front-1'));
  expect(front.map(({ service, id, ready }) => ({ service, id, ready })).toSorted((a, b) => (a.service < b.service ? -1 : 1))).toEqual([
    { service: 'admission', id: 'admission-front-1', ready: true },
    { service: 'gateway', id: 'gateway-front-1', ready: true },
    { service: 'router', id: 'router-front-1', ready: true },
  ]);
  const metrics = await (await fetch(`${fleet.gatewayUrl}/metrics`)).text();
  const questions = (subject: string) =>
    Number(new RegExp(`switchyard_bus_requests_total\\{[^}]*subject="${subject.replaceAll('*', '\\*')}"[^}]*\\} (\\d+)`).exec(metrics)?.[1]);
  expect(questions('sy.v1.admission.*.admit')).toBe(20);
  expect(questions('sy.v1.router.route')).toBeGreaterThan(0);
});

test('a running stream ends before the process does, and another process takes over', async () => {
  const stream = await ask(400, true);
  const text = bodyOf(stream);
  expect(await fleet.terminate('front-1')).toBe(0);
  expect((await text).trimEnd().endsWith('data: [DONE]')).toBe(true);
  fleet.start('front-1');
  await fleet.whole();
  expect(JSON.parse(await bodyOf(await ask(4, false))).usage.completion_tokens).toBe(4);
});

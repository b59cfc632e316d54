import { expect, test } from 'vitest';
import { VirtualClock } from '../clock/virtual-clock.ts';
import { seededRng } from '../rng/seeded-rng.ts';
import { createLinkProof, maxProofBytes } from './link-proof.ts';
import { agentSecrets } from './link-secrets.ts';

const clock = new VirtualClock();
const proof = (secrets: string, seed = 1) => createLinkProof({ fleet: secrets }, clock, seededRng(seed));

test('who knows the secret is let in, and gets the answer that only such a one can give', () => {
  const [client, server] = [proof('one', 1), proof('one', 2)];
  const token = client.token('link');
  const checked = server.check('link', token);
  expect(checked).toHaveProperty('answer');
  expect(client.isAnswer('link', token, (checked as { answer: string }).answer)).toBe(true);
  expect(client.isAnswer('link', client.token('link'), (checked as { answer: string }).answer)).toBe(false);
  expect(Buffer.byteLength(token)).toBeLessThan(maxProofBytes);
  expect(token).not.toContain('one.');
});

test('a token is good once, for one kind of connection, and for a short time', async () => {
  const [client, server] = [proof('one', 1), proof('one', 2)];
  const token = client.token('kv');
  expect(server.check('link', token)).toEqual({ why: 'it does not know the secret' });
  expect(server.check('kv', token)).toHaveProperty('answer');
  expect(server.check('kv', token)).toEqual({ why: 'its token was used before' });
  const late = client.token('kv');
  await clock.advance(121_000);
  expect(server.check('kv', late)).toEqual({ why: 'its token is 121 s old: do the clocks agree?' });
});

test('a used token stays used over the turn of the memory', async () => {
  const [client, server] = [proof('one', 1), proof('one', 2)];
  await clock.advance(239_000);
  const token = client.token('kv');
  expect(server.check('kv', token)).toHaveProperty('answer');
  await clock.advance(2_000);
  expect(server.check('kv', client.token('kv'))).toHaveProperty('answer');
  expect(server.check('kv', token)).toEqual({ why: 'its token was used before' });
});

test.each(['', '.', '..', '...', 'x.y.z', 'x.y.z.w', 'x.y.z.w.v', `${'9'.repeat(200)}.a..b`, '\u0000'])('%j is refused', (token) => {
  expect(proof('one').check('link', token)).toHaveProperty('why');
});

test('an agent with secrets of its own takes links to its instances, and can begin none to others', () => {
  const agent = (...ids: string[]) => createLinkProof({ own: agentSecrets('one', ids) }, clock, seededRng(ids.length));
  const [gateway, first, second] = [proof('one', 7), agent('chat-1'), agent('chat-2', 'chat-3')];
  const token = gateway.token('link', 'chat-1');
  expect(second.check('link', token)).toEqual({ why: 'it does not know the secret' });
  const { answer } = first.check('link', token) as { answer: string };
  expect(gateway.isAnswer('link', token, answer)).toBe(true);
  expect(second.check('link', gateway.token('link', 'chat-3'))).toHaveProperty('answer');
  expect(first.check('link', gateway.token('link'))).toEqual({ why: 'it does not know the secret' });
  expect(first.check('link', gateway.token('link', '__proto__'))).toEqual({ why: 'it does not know the secret' });
  expect(() => first.token('link', 'chat-2')).toThrow('no secret for token links to chat-2');
  // What a link was begun with cannot be shown to somebody else: its instance is part of it.
  expect(first.check('link', second.token('link', 'chat-2'))).toHaveProperty('why');
  // One that knows the fleet secret speaks for every instance.
  expect(proof('one', 8).check('link', gateway.token('link', 'chat-9'))).toHaveProperty('answer');
});

test('agents open KV connections to each other, and to those that know the fleet secret', () => {
  const agent = (fleet: string, id: string, seed: number) => createLinkProof({ own: agentSecrets(fleet, [id]) }, clock, seededRng(seed));
  const [first, second] = [agent('one', 'chat-1', 1), agent('one', 'chat-2', 2)];
  const token = first.token('kv');
  const { answer } = second.check('kv', token) as { answer: string };
  expect(first.isAnswer('kv', token, answer)).toBe(true);
  expect(Buffer.byteLength(token)).toBeLessThan(maxProofBytes);
  expect(proof('one', 3).check('kv', first.token('kv'))).toHaveProperty('answer');
  expect(agent('other', 'chat-3', 4).check('kv', first.token('kv'))).toHaveProperty('why');
  // While the fleet secret is being changed.
  expect(agent('old,new', 'chat-4', 5).check('kv', agent('new', 'chat-5', 6).token('kv'))).toHaveProperty('answer');
});

test('a secret is changed without a stop: new ones are taken before they are used', () => {
  const [before, between, after] = [proof('old', 1), proof('old,new', 2), proof('new,old', 3)];
  expect(between.check('link', before.token('link'))).toHaveProperty('answer');
  const token = after.token('link');
  const checked = between.check('link', token) as { answer: string };
  expect(after.isAnswer('link', token, checked.answer)).toBe(true);
  expect(before.check('link', after.token('link'))).toHaveProperty('why');
});

import { expect, test } from 'vitest';
import { VirtualClock } from '../clock/virtual-clock.ts';
import { seededRng } from '../rng/seeded-rng.ts';
import { createLinkProof, maxProofBytes } from './link-proof.ts';

const clock = new VirtualClock();
const proof = (secrets: string, seed = 1) => createLinkProof(secrets, clock, seededRng(seed));

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
  expect(server.check('link', token)).toEqual({ why: 'it does not know the fleet secret' });
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

test.each(['', '.', '..', '...', 'x.y.z', `${'9'.repeat(200)}.a.b`, '\u0000'])('%j is refused', (token) => {
  expect(proof('one').check('link', token)).toHaveProperty('why');
});

test('a secret is changed without a stop: new ones are taken before they are used', () => {
  const [before, between, after] = [proof('old', 1), proof('old,new', 2), proof('new,old', 3)];
  expect(between.check('link', before.token('link'))).toHaveProperty('answer');
  const token = after.token('link');
  const checked = between.check('link', token) as { answer: string };
  expect(after.isAnswer('link', token, checked.answer)).toBe(true);
  expect(before.check('link', after.token('link'))).toHaveProperty('why');
});

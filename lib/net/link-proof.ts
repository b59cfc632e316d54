// How the two ends of a data plane connection prove to each other that they belong to the fleet: whoever connects shows a
// token made from a secret of both (link-secrets.ts), good once and for a short time, and gets an answer that only who knows the secret can
// give. The secret itself is never sent. What is said afterwards is not sealed: that takes TLS.
import { createHmac, timingSafeEqual } from 'node:crypto';
import type { Clock } from '../ports/clock.ts';
import type { LinkKind } from '../ports/net.ts';
import type { Rng } from '../ports/rng.ts';
import { kvSecretsOf, type LinkSecrets, linkSecretsOf } from './link-secrets.ts';

export interface LinkProof {
  /** `instanceId`: who is to take it, for links. Absent: anybody who knows the fleet secret. @throws Error when its secret is not known */
  token(kind: LinkKind, instanceId?: string): string;
  /** What to answer with, or why the token is refused. */
  check(kind: LinkKind, token: string): { readonly answer: string } | { readonly why: string };
  isAnswer(kind: LinkKind, token: string, answer: string): boolean;
}

/** Longer than any token for a KV connection, and than any answer. */
export const maxProofBytes = 256;
/** The clocks of two machines may differ by so much. */
const clockSkewMs = 120_000;
/** Tokens taken and still good, so that none is taken twice. At the limit, which takes a member of the fleet, further ones are refused. */
const maxTaken = 200_000;

export function createLinkProof(secrets: LinkSecrets, clock: Clock, rng: Rng): LinkProof {
  let taken = new Set<string>();
  let takenBefore = new Set<string>();
  let turnedAtMs = clock.now();

  const mac = (secret: string, side: 'client' | 'server', kind: LinkKind, body: string) =>
    createHmac('sha256', secret).update(`switchyard ${kind} ${side} ${body}`).digest('base64url');

  /** Two generations: each token is remembered at least as long as it is good. */
  function takeOnce(body: string): boolean {
    const nowMs = clock.now();
    if (nowMs - turnedAtMs > 2 * clockSkewMs) {
      takenBefore = taken;
      taken = new Set();
      turnedAtMs = nowMs;
    }
    if (taken.has(body) || takenBefore.has(body) || taken.size >= maxTaken) return false;
    taken.add(body);
    return true;
  }

  const known = (kind: LinkKind, body: string) => (kind === 'kv' ? kvSecretsOf(secrets) : linkSecretsOf(secrets, instanceOf(body)));

  return {
    token(kind, instanceId = '') {
      const body = `${Math.round(clock.now()).toString(36)}.${rng.id('')}${rng.id('')}.${Buffer.from(instanceId).toString('base64url')}`;
      const [secret] = known(kind, body);
      if (secret === undefined) throw new Error(`no secret for ${kind === 'kv' ? 'KV connections' : `token links to ${instanceId || 'others'}`}`);
      return `${body}.${mac(secret, 'client', kind, body)}`;
    },
    check(kind, token) {
      const parts = token.split('.');
      const [madeAt = '', , , given = ''] = parts;
      const body = parts.slice(0, 3).join('.');
      const secret = parts.length === 4 ? known(kind, body).find((one) => same(mac(one, 'client', kind, body), given)) : undefined;
      if (secret === undefined) return { why: 'it does not know the secret' };
      const ageMs = clock.now() - Number.parseInt(madeAt, 36);
      if (!(Math.abs(ageMs) <= clockSkewMs)) return { why: `its token is ${Math.round(ageMs / 1000)} s old: do the clocks agree?` };
      if (!takeOnce(body)) return { why: 'its token was used before' };
      return { answer: mac(secret, 'server', kind, body) };
    },
    isAnswer(kind, token, answer) {
      const body = token.slice(0, token.lastIndexOf('.'));
      const [secret] = known(kind, body);
      return secret !== undefined && same(mac(secret, 'server', kind, body), answer);
    },
  };
}

/** The instance that a token is for. */
function instanceOf(body: string): string {
  return Buffer.from(body.split('.')[2] ?? '', 'base64url').toString();
}

function same(one: string, other: string): boolean {
  const [a, b] = [Buffer.from(one), Buffer.from(other)];
  return a.length === b.length && timingSafeEqual(a, b);
}

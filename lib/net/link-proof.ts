// How the two ends of a data plane connection prove to each other that they belong to the fleet: whoever connects shows a
// token made from the shared secret, good once and for a short time, and gets an answer that only who knows the secret can
// give. The secret itself is never sent. What is said afterwards is not sealed: that takes TLS.
import { createHmac, timingSafeEqual } from 'node:crypto';
import type { Clock } from '../ports/clock.ts';
import type { LinkKind } from '../ports/net.ts';
import type { Rng } from '../ports/rng.ts';

export interface LinkProof {
  token(kind: LinkKind): string;
  /** What to answer with, or why the token is refused. */
  check(kind: LinkKind, token: string): { readonly answer: string } | { readonly why: string };
  isAnswer(kind: LinkKind, token: string, answer: string): boolean;
}

/** Longer than any token or answer. */
export const maxProofBytes = 256;
/** The clocks of two machines may differ by so much. */
const clockSkewMs = 120_000;
/** Tokens taken and still good, so that none is taken twice. At the limit, which takes a member of the fleet, further ones are refused. */
const maxTaken = 200_000;

/** `secrets`: separated by commas; the first makes tokens, all are taken, so that a new one can be brought in. */
export function createLinkProof(secrets: string, clock: Clock, rng: Rng): LinkProof {
  const known = secrets.split(',').map((secret) => secret.trim());
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

  function secretOf(kind: LinkKind, body: string, given: string): string | undefined {
    return known.find((secret) => same(mac(secret, 'client', kind, body), given));
  }

  return {
    token(kind) {
      const body = `${Math.round(clock.now()).toString(36)}.${rng.id('')}${rng.id('')}`;
      return `${body}.${mac(known[0]!, 'client', kind, body)}`;
    },
    check(kind, token) {
      const [madeAt = '', nonce = '', given = '', ...rest] = token.split('.');
      const body = `${madeAt}.${nonce}`;
      const secret = rest.length === 0 ? secretOf(kind, body, given) : undefined;
      if (secret === undefined) return { why: 'it does not know the fleet secret' };
      const ageMs = clock.now() - Number.parseInt(madeAt, 36);
      if (!(Math.abs(ageMs) <= clockSkewMs)) return { why: `its token is ${Math.round(ageMs / 1000)} s old: do the clocks agree?` };
      if (!takeOnce(body)) return { why: 'its token was used before' };
      return { answer: mac(secret, 'server', kind, body) };
    },
    isAnswer(kind, token, answer) {
      const body = token.slice(0, token.lastIndexOf('.'));
      return same(mac(known[0]!, 'server', kind, body), answer);
    },
  };
}

function same(one: string, other: string): boolean {
  const [a, b] = [Buffer.from(one), Buffer.from(other)];
  return a.length === b.length && timingSafeEqual(a, b);
}

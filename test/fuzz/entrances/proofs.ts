// Tokens and answers of token links and KV connections that are almost right: none is taken, whatever has been changed in
// it, and what is taken is taken once.
import { VirtualClock } from '../../../lib/clock/virtual-clock.ts';
import { createLinkProof, maxProofBytes } from '../../../lib/net/link-proof.ts';
import { agentSecrets } from '../../../lib/net/link-secrets.ts';
import type { LinkKind } from '../../../lib/ports/net.ts';
import { seededRng } from '../../../lib/rng/seeded-rng.ts';
import { oddTexts } from '../chooser.ts';
import { count, type Entrance } from '../entrance.ts';
import { mutateBytes } from '../mutate-bytes.ts';

const instances = ['chat-1', 'chat-2', 'i'.repeat(200)];
const kinds: readonly LinkKind[] = ['link', 'kv'];
const kept = 200;

export const proofEntrance: Entrance = {
  name: 'proofs of the data plane',
  weight: 12,
  shortInputs: 2_000,
  batch: 2_000,
  async open(seed, findings) {
    const clock = new VirtualClock();
    const outcomes = new Map<string, number>();
    const gateway = createLinkProof({ fleet: 'new,old' }, clock, seededRng(seed));
    const agent = createLinkProof({ own: agentSecrets('old,new', instances) }, clock, seededRng(seed + 1));
    const sender = createLinkProof({ own: agentSecrets('new', ['chat-3']) }, clock, seededRng(seed + 2));
    /** Right ones, some of which have been taken. */
    const tokens: { kind: LinkKind; token: string; answer: string | undefined }[] = [];
    const pieces = oddTexts.map((text) => Buffer.from(text));

    function make(kind: LinkKind, instanceId: string) {
      const token = kind === 'link' ? gateway.token('link', instanceId) : sender.token('kv');
      tokens.push({ kind, token, answer: undefined });
      if (tokens.length > kept) tokens.shift();
    }
    for (const instanceId of instances) for (const kind of kinds) make(kind, instanceId);

    return {
      outcomes,
      async feed(chooser) {
        if (chooser.chance(0.05)) make(chooser.pick(kinds), chooser.pick(instances));
        if (chooser.chance(0.005)) await clock.advance(chooser.int(200_000));
        const chosen = chooser.pick(tokens);
        const others = [...tokens.slice(-3).map(({ token }) => Buffer.from(token)), ...pieces];
        const changed = Buffer.from(mutateBytes(Buffer.from(chosen.token, 'latin1'), others, chooser)).toString('latin1');
        const shown = chooser.chance(0.02) ? chosen.token : changed;
        const kind = chooser.chance(0.9) ? chosen.kind : chooser.pick(kinds);
        const checked = agent.check(kind, shown);
        if ('why' in checked) {
          count(outcomes, checked.why.replace(/-?\d+ s/, '… s'));
          // A log line is made of it.
          if (checked.why.length > 200) findings.add('a refusal is longer than a line', checked.why);
          return;
        }
        count(outcomes, 'taken');
        const right = tokens.find((each) => each.token === shown);
        if (!right || right.kind !== kind) findings.add('a token that nobody made is taken', shown);
        else if (right.answer !== undefined) findings.add('a token is taken twice', shown);
        else right.answer = checked.answer;
        const asking = kind === 'link' ? gateway : sender;
        if (!asking.isAnswer(kind, shown, checked.answer)) findings.add('the right answer is not taken', shown);
        const answer = Buffer.from(mutateBytes(Buffer.from(checked.answer), others, chooser)).toString('latin1');
        if (answer !== checked.answer && asking.isAnswer(kind, shown, answer)) findings.add('a wrong answer is taken', answer);
        if (Buffer.byteLength(checked.answer) > maxProofBytes) findings.add('an answer is longer than its limit', checked.answer);
      },
      async settle() {
        make('link', 'chat-1');
        const { kind, token } = tokens.at(-1)!;
        if (!('answer' in agent.check(kind, token))) findings.add('the next gateway is not let in', token);
      },
      async close() {},
    };
  },
};

// Messages on the bus: every subject that somebody listens to, with bytes that are almost right.

import { SwitchyardError } from '../../../core/errors/switchyard-error.ts';
import * as contracts from '../../../lib/contracts.ts';
import type { Rpc, Topic } from '../../../lib/ports/bus.ts';
import type { Codec } from '../../../proto/codec.ts';
import type { Chooser } from '../chooser.ts';
import { count, type Entrance } from '../entrance.ts';
import { startFuzzedFleet } from '../fuzzed-fleet.ts';
import { mutateProtobuf } from '../mutate-protobuf.ts';

type Raw = { readonly bytes: Uint8Array };

/** Sends bytes as they are. */
const raw: Codec<Raw> = {
  name: 'raw',
  encode: ({ bytes }) => bytes,
  decode: (bytes) => ({ bytes }),
};

const subjects = Object.values(contracts).flatMap((each): { pattern: string; asked: boolean; body: Codec<never> }[] => {
  if (Array.isArray(each)) return [];
  return 'question' in each
    ? [{ pattern: each.pattern, asked: true, body: each.question as Codec<never> }]
    : [{ pattern: (each as Topic<never>).pattern, asked: false, body: (each as Topic<never>).message }];
});

const keyChoices: Readonly<Record<string, readonly string[]>> = {
  admission: ['chat'],
  'request.done': ['chat'],
  status: ['chat', 'chat-1', 'chat-2'],
  agent: ['chat-1', 'chat-2'],
  gateway: ['gateway-1'],
  scaling: ['chat'],
  launcher: ['chat-9'],
};

const strangeKeys = ['nobody', '%zz', '%', '%E0%A4%A', '__proto__', 'constructor', 'k'.repeat(2000), '\ud800'];

/** What stands for `*`: mostly a name that somebody serves. Some are no escapes, as only a stranger would write them. */
function keysFor(pattern: string, chooser: Chooser): string[] {
  const plain = pattern.replace(/^sy\.v1\./, '');
  const choices = Object.entries(keyChoices).find(([beginning]) => plain.startsWith(beginning))?.[1] ?? ['chat'];
  return [...pattern.matchAll(/\*/g)].map(() => (chooser.chance(0.05) ? chooser.pick(strangeKeys) : chooser.pick(choices)));
}

/** The subject as it goes over the wire, with keys as they are. */
function filled(pattern: string, keys: readonly string[]): string {
  const left = [...keys];
  return pattern.replaceAll('*', () => left.shift()!);
}

export const busEntrance: Entrance = {
  name: 'bus messages',
  weight: 22,
  shortInputs: 2000,
  batch: 4000,
  async open(seed, findings) {
    const fleet = await startFuzzedFleet(seed, findings);
    const { bus, telemetry } = fleet.stranger;
    const outcomes = new Map<string, number>();
    let waiting = 0;
    const everything = fleet.traffic.all;

    function questionOf(pattern: string, body: Codec<never>, chooser: Chooser): Uint8Array {
      const known = fleet.traffic.of(pattern);
      const valid = known.length > 0 ? chooser.pick(known) : body.encode({} as never);
      return mutateProtobuf(valid, chooser.chance(0.5) && known.length > 0 ? known : everything, fleet.names, chooser);
    }

    return {
      outcomes,
      feed(chooser) {
        const subject = chooser.pick(subjects);
        const pattern = filled(subject.pattern, keysFor(subject.pattern, chooser));
        const bytes = questionOf(subject.pattern, subject.body, chooser);
        const trace = chooser.chance(0.05) ? { traceparent: chooser.pick(['', '00-x', '00-'.repeat(1000), '\u0000', 'ff-0-0-0']) } : undefined;
        telemetry.within(trace, () => {
          if (!subject.asked) {
            bus.publish({ pattern, message: raw as never } as Topic<never>, [], { bytes } as never);
            count(outcomes, 'told');
            return;
          }
          waiting++;
          bus
            .request({ pattern, question: raw as never, answer: raw as never } as Rpc<never, never>, [], { bytes } as never, {
              timeoutMs: 5_000,
            })
            .then(
              () => count(outcomes, 'answered'),
              (thrown: unknown) => {
                if (!(thrown instanceof SwitchyardError)) findings.thrown(`${subject.pattern} failed without a code`, thrown);
                else if (thrown.code === 'internal') findings.add(`${subject.pattern} answered internal: ${thrown.message.slice(0, 100)}`);
                else count(outcomes, thrown.code === 'timeout' ? 'dropped' : 'refused');
              },
            )
            .finally(() => waiting--);
        });
      },
      async settle() {
        await fleet.clock.advance(6_000);
        if (waiting > 0) findings.add(`${waiting} questions neither answered nor timed out`);
        if ((await fleet.ask()) === undefined) findings.add('the fleet does not answer a client any more');
        if (fleet.series() > 5_000) findings.add(`metrics have ${fleet.series()} series: labels take values from messages`);
      },
      close: () => fleet.stop(),
    };
  },
};

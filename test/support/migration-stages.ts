// The stages of a migration at which a test can hold it, each at one message between the worker and the rest, or in the
// middle of the bytes between the agents.
import { matches } from '../../lib/bus/subject.ts';
import * as contracts from '../../lib/contracts.ts';
import { CopyStageCommand, ReserveReply } from '../../proto/gen/messages.ts';
import type { BusGate, GateMessage, Hold } from './bus-gate.ts';
import type { KvLink } from './kv-link.ts';

interface Message {
  readonly way: GateMessage['way'];
  readonly pattern: string;
  /** Of the question, for an answer. */
  readonly command?: (payload: Buffer) => boolean;
}

const isLast = (payload: Buffer) => CopyStageCommand.decode(payload).last;
const isFirst = (payload: Buffer) => !isLast(payload);
const { copyStage, handOver, migrationEnded, release, reserve } = contracts;

const messages = {
  'reservation asked for': { way: 'sent', pattern: reserve.pattern },
  'blocks reserved, answer under way': { way: 'answered', pattern: reserve.pattern },
  'first stage copied, answer under way': { way: 'answered', pattern: copyStage.pattern, command: isFirst },
  'last stage asked for': { way: 'sent', pattern: copyStage.pattern, command: isLast },
  'source paused, last stage copied': { way: 'answered', pattern: copyStage.pattern, command: isLast },
  'hand-over asked for': { way: 'sent', pattern: handOver.pattern },
  'committed, answer under way': { way: 'answered', pattern: handOver.pattern },
  'release asked for': { way: 'sent', pattern: release.pattern },
  'end reported': { way: 'sent', pattern: migrationEnded.pattern },
} satisfies Record<string, Message>;

const inTheBytes = 'blocks half copied';

export type MigrationStage = keyof typeof messages | typeof inTheBytes;

/** In the order in which a migration comes through them. */
export const migrationStages: readonly MigrationStage[] = [
  'reservation asked for',
  'blocks reserved, answer under way',
  inTheBytes,
  'first stage copied, answer under way',
  'last stage asked for',
  'source paused, last stage copied',
  'hand-over asked for',
  'committed, answer under way',
  'release asked for',
  'end reported',
];

/** From here on a migration is committed, whoever dies. */
export const pointOfNoReturn: MigrationStage = 'committed, answer under way';

/** @param gate of the worker that carries out the migrations */
export function stageHolder(gate: BusGate, link: KvLink) {
  gate.rewrite(async ({ subject, payload }) => {
    if (!matches(reserve.pattern, subject)) return payload;
    const reply = ReserveReply.decode(payload);
    if (reply.kvAddress === '') return payload;
    return Buffer.from(ReserveReply.encode({ ...reply, kvAddress: await link.through(reply.kvAddress) }));
  });

  /** The migration of the request stops when it comes to the stage. */
  return function holdAt(stage: MigrationStage, requestId: string): Hold {
    if (stage === inTheBytes) return link.hold(requestId, 16_384);
    const wanted: Message = messages[stage];
    return gate.hold((message) => {
      if (message.way !== wanted.way || !matches(wanted.pattern, message.subject)) return false;
      const command = message.way === 'sent' ? message.payload : message.question;
      return command.includes(requestId) && (wanted.command?.(command) ?? true);
    });
  };
}

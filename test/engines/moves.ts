// Moving a request between two engines as agents and workflow do it, by hand and in one process, so that a test can look, damage
// and kill at every step.
import { toRefusal } from '../../core/errors/switchyard-error.ts';
import { decodeEnvelope, type Envelope, encodeEnvelope } from '../../lib/engines/llama/envelope.ts';
import type { StageSource, StageTarget } from '../../lib/ports/engines.ts';
import { type Refusal, SequenceState } from '../../proto/gen/messages.ts';
import type { Conversation } from './conversation.ts';
import type { LlamaRig } from './llama-rig.ts';

export type MoveMode = 'stop_and_copy' | 'follow' | 'recompute';

/** Steps of a move, in their order. `follow` copies and loads before the last stage too. */
export type MovePhase = 'reserved' | 'saved' | 'copied' | 'loaded' | 'followed' | 'paused' | 'committed' | 'released';

export interface MoveOptions {
  readonly mode: MoveMode;
  /** Called after each phase. */
  readonly at?: (phase: MovePhase) => Promise<void> | void;
  /** What travels instead of the saved state, and of the request's body. */
  readonly change?: (blob: Uint8Array, envelope: Envelope) => { readonly blob: Uint8Array; readonly envelope: Envelope; readonly body?: Uint8Array };
  /** follow: tokens that the source goes on for while the target follows. */
  readonly followTokens?: number;
}

let moves = 0;

/** Undefined: it is the target's. Else why it is not; what had begun is undone, as the workflow does it. */
export async function move(conversation: Conversation, source: LlamaRig, target: LlamaRig, options: MoveOptions): Promise<Refusal | undefined> {
  const { mode, at = () => {} } = options;
  if (mode === 'recompute') {
    source.engine.cancel(conversation.id, conversation.epoch);
    return conversation.recomputeOn(target.engine);
  }
  const reservationId = `move-${++moves}`;
  const { id: requestId, epoch } = conversation;
  const { blockTokens, maxContextTokens } = target.engine.status();
  const tokens = Math.min(conversation.ids.length + 200, maxContextTokens);
  const reserved = target.kv.reserve({
    ...{ reservationId, requestId, epoch: epoch + 1, blocks: Math.ceil(tokens / blockTokens) },
    ...{ ttlMs: 30_000, purpose: 'migration', transferToken: `token-${moves}` },
  });
  if ('code' in reserved) return reserved;
  const { transferToken } = reserved;
  const stageOf = (last: boolean) => source.kv.beginStage({ requestId, epoch, reservationId, last, pauseLeaseMs: 30_000 });
  let stopTail = () => {};
  try {
    await at('reserved');
    const incoming = target.kv.incoming(reservationId, transferToken);
    if ('code' in incoming) return undo(incoming);
    if (mode === 'follow') {
      const stage = await stageOf(false);
      const refused = 'code' in stage ? stage : await carry(stage, incoming, false, options);
      if (refused) return undo(refused);
      const confirmed = (stage as StageSource).confirmed();
      if ('code' in confirmed) return undo(confirmed);
      await at('loaded');
      const upTo = conversation.ids.length + (options.followTokens ?? 8);
      stopTail = (stage as StageSource).tail!((firstIndex, tokenIds) => incoming.follow!(firstIndex, tokenIds));
      try {
        await conversation.tokens(upTo);
      } catch (thrown) {
        if (conversation.error) return undo(conversation.error);
        throw thrown;
      }
      await at('followed');
    }
    const stage = await stageOf(true);
    await at('paused');
    const refused = 'code' in stage ? stage : await carry(stage, incoming, true, options);
    if (refused) return undo(refused);
    if (mode === 'stop_and_copy') await at('loaded');
    const kept = conversation.takeOverOn(target.engine, reservationId);
    await at('committed');
    if (kept) {
      conversation.epoch--;
      return undo(kept);
    }
    source.kv.release(requestId, epoch, true);
    await at('released');
    return undefined;
  } finally {
    stopTail();
  }

  function undo(why: Refusal): Refusal {
    target.kv.dropReservation(reservationId);
    source.kv.release(requestId, epoch, false);
    return why;
  }
}

async function carry(stage: StageSource, incoming: StageTarget, last: boolean, options: MoveOptions): Promise<Refusal | undefined> {
  const { at = () => {}, change } = options;
  await at('saved');
  const sent: Carried = change && stage.blocks.length > 0 ? changed(stage, change) : stage;
  try {
    for (const { block, version } of stage.blocks) {
      const payload = sent.read(block, 0, sent.blockBytes).slice();
      const refused = incoming.write({ block, offset: 0, blockBytes: sent.blockBytes, version, payload });
      if (refused) return refused;
    }
  } catch (thrown) {
    return toRefusal(thrown);
  }
  await at('copied');
  const committed = await incoming.commit(sent.versions, last, sent.state);
  if ('code' in committed) return committed;
  if (committed.missing.length > 0) throw new Error(`missing: ${committed.missing}`);
  return undefined;
}

type Carried = Pick<StageSource, 'blockBytes' | 'read' | 'versions' | 'state'>;

/** The same stage with another state in it, in as many blocks. */
function changed(stage: StageSource, change: NonNullable<MoveOptions['change']>): Carried {
  const facts = SequenceState.decode(stage.state);
  const saved = decodeEnvelope(facts.engineState);
  if ('code' in saved) throw new Error(saved.message);
  const room = Buffer.concat(stage.blocks.map(({ block }) => stage.read(block, 0, stage.blockBytes).slice()));
  const { blob, envelope, body = facts.body } = change(new Uint8Array(room.subarray(0, saved.blobBytes)), saved);
  const blockBytes = Math.max(stage.blockBytes, Math.ceil(blob.length / stage.blocks.length));
  const padded = new Uint8Array(blockBytes * stage.blocks.length);
  padded.set(blob);
  return {
    ...{ blockBytes, versions: stage.versions, state: SequenceState.encode({ ...facts, body, engineState: encodeEnvelope(envelope) }) },
    read: (block, offset, bytes) => padded.subarray(block * blockBytes + offset, block * blockBytes + offset + bytes),
  };
}

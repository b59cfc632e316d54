// The end of a stage: the sender asks the receiver to put it in place.
import { isCode } from '../../core/errors/codes.ts';
import { refusal } from '../../core/errors/switchyard-error.ts';
import { KvFrame, type Refusal } from '../../proto/gen/messages.ts';
import type { StageSource } from '../ports/engines.ts';
import { commitCrc } from './kv-checks.ts';

export function commitFrame({ source, stage, last }: { readonly source: StageSource; readonly stage: number; readonly last: boolean }): Uint8Array {
  const commit = { stage, blocks: source.versions.length, last, state: source.state, versions: source.versions };
  return KvFrame.encode({ commit: { ...commit, crc: commitCrc(commit) } });
}

/** What the receiver refuses, with a code of ours: codes end up in metrics and answers. */
export function toldRefusal(refused: Refusal): Refusal {
  return isCode(refused.code) ? refused : refusal('transfer_failed', `the receiver refuses: ${refused.message}`);
}

// The instances of one pool as flat arrays, one row each, sorted by id: a decision over thousands of instances walks
// numbers and makes no objects. Rows change in place as views and bookings come.
import type { CandidateInput } from '../../proto/gen/messages.ts';
import type { LoadCorrection } from './account.ts';
import { type Candidate, freeBlocksAfterDemand, sequencesOn } from './candidate.ts';
import { hashOf } from './seeded-random.ts';

export const healthCodes = ['healthy', 'suspect', 'dead'] as const;
const roleCodes = ['mixed', 'prefill', 'decode'] as const;

/** Columns that hold a number of the candidate as it is. */
const numberColumns = [
  'running',
  'waiting',
  'maxRunning',
  'maxWaiting',
  'totalBlocks',
  'freeBlocks',
  'waitingBlocks',
  'blockTokens',
  'maxContextTokens',
  'bookedRequests',
  'bookedBlocks',
  'endedRequests',
  'endedBlocks',
  'pendingTokens',
  'bookedTokens',
] as const;
type NumberColumn = (typeof numberColumns)[number];

/** What is known of an instance whatever the request. */
export type InstanceInput = Omit<CandidateInput, 'prefixBlocks' | 'session'>;

/** What the indexes know of one request. */
export interface RequestHints {
  /** Row to leading prefix hashes known there; rows with none are absent. */
  readonly prefixBlocks: ReadonlyMap<number, number>;
  /** Row of the session's last request; -1: none. */
  readonly sessionRow: number;
}

export class PoolTable {
  readonly ids: readonly string[];
  readonly addresses: string[];
  /** Of the ids, to break ties by. */
  readonly idHashes: Uint32Array;
  /** Index in `healthCodes`. */
  readonly health: Uint8Array;
  readonly cordoned: Uint8Array;
  readonly accepting: Uint8Array;
  /** Index in `roleCodes`. */
  readonly role: Uint8Array;
  /** Of each row: who can take its requests over with their KV. */
  readonly kvFits: string[];
  readonly numbers: Readonly<Record<NumberColumn, Float64Array>>;
  /** Sequences there now, as far as we know. */
  readonly sequences: Float64Array;
  /** Free blocks when all queued and booked demand has got its own. */
  readonly freeAfterDemand: Float64Array;
  /** Tokens of prompts that are to be computed there before that of a new request. */
  readonly promptBacklog: Float64Array;
  /** For the time of one decision: verdicts, scores and totals by row. */
  readonly scratch: { readonly verdicts: Uint8Array; readonly kept: Int32Array; readonly values: Float64Array; readonly totals: Float64Array };
  /** Grows with every change. */
  version = 0;
  /** Rows that may take requests at all, and how many of them are healthy. */
  usable = 0;
  usableHealthy = 0;
  /** How many rows have the role prefill, and how many of the usable ones have not. */
  #prefillRows = 0;
  usableForDecode = 0;
  readonly #rows = new Map<string, number>();

  /** `ids` are sorted and different. Every row must be set before the first decision. */
  constructor(ids: readonly string[]) {
    const size = ids.length;
    const floats = () => new Float64Array(size);
    this.ids = ids;
    this.addresses = new Array<string>(size).fill('');
    this.idHashes = Uint32Array.from(ids, hashOf);
    this.health = new Uint8Array(size).fill(healthCodes.indexOf('dead'));
    this.cordoned = new Uint8Array(size);
    this.accepting = new Uint8Array(size);
    this.role = new Uint8Array(size);
    this.kvFits = new Array<string>(size).fill('');
    this.numbers = Object.fromEntries(numberColumns.map((name) => [name, floats()])) as Record<NumberColumn, Float64Array>;
    this.sequences = floats();
    this.freeAfterDemand = floats();
    this.promptBacklog = floats();
    this.scratch = { verdicts: new Uint8Array(size), kept: new Int32Array(size), values: floats(), totals: floats() };
    for (const [row, id] of ids.entries()) this.#rows.set(id, row);
  }

  static of(candidates: readonly Candidate[]): PoolTable {
    const sorted = [...candidates].sort((a, b) => (a.instanceId < b.instanceId ? -1 : 1));
    const table = new PoolTable(sorted.map(({ instanceId }) => instanceId));
    for (const [row, { address, input }] of sorted.entries()) table.set(row, address, input);
    return table;
  }

  get size(): number {
    return this.ids.length;
  }

  /** Undefined: not in this pool. */
  rowOf(instanceId: string): number | undefined {
    return this.#rows.get(instanceId);
  }

  /** Long prompts are computed by instances of their own. */
  get hasPrefill(): boolean {
    return this.#prefillRows > 0;
  }

  isUsable(row: number): boolean {
    return this.health[row] !== 2 && this.cordoned[row] === 0 && this.accepting[row] === 1;
  }

  set(row: number, address: string, input: InstanceInput): void {
    this.#count(row, -1);
    this.addresses[row] = address;
    this.health[row] = healthCodes.indexOf(input.health);
    this.cordoned[row] = Number(input.cordoned);
    this.accepting[row] = Number(input.accepting);
    this.role[row] = roleCodes.indexOf(input.role);
    this.kvFits[row] = input.kvFit;
    for (const name of numberColumns) this.numbers[name][row] = input[name];
    this.#count(row, 1);
    this.#derive(row);
  }

  /** What has been placed and has ended since the report in this row. */
  correct(row: number, correction: LoadCorrection): void {
    const { bookedRequests, bookedBlocks, bookedTokens, endedRequests, endedBlocks } = this.numbers;
    bookedRequests[row] = correction.bookedRequests;
    bookedBlocks[row] = correction.bookedBlocks;
    bookedTokens[row] = correction.bookedTokens;
    endedRequests[row] = correction.endedRequests;
    endedBlocks[row] = correction.endedBlocks;
    this.#derive(row);
  }

  /** The row as it stands in a decision record. */
  inputOf(row: number, hints: RequestHints): CandidateInput {
    return { ...this.#inputOf(row), prefixBlocks: hints.prefixBlocks.get(row) ?? 0, session: hints.sessionRow === row };
  }

  #inputOf(row: number): InstanceInput {
    const numbers = Object.fromEntries(numberColumns.map((name) => [name, this.numbers[name][row]!])) as Record<NumberColumn, number>;
    return {
      ...numbers,
      health: healthCodes[this.health[row]!]!,
      cordoned: this.cordoned[row] === 1,
      accepting: this.accepting[row] === 1,
      role: roleCodes[this.role[row]!]!,
      kvFit: this.kvFits[row]!,
    };
  }

  #derive(row: number): void {
    const { running, waiting, endedRequests, bookedRequests, freeBlocks, waitingBlocks, bookedBlocks, endedBlocks } = this.numbers;
    this.sequences[row] = sequencesOn(running[row]!, waiting[row]!, endedRequests[row]!, bookedRequests[row]!);
    this.freeAfterDemand[row] = freeBlocksAfterDemand(freeBlocks[row]!, waitingBlocks[row]!, bookedBlocks[row]!, endedBlocks[row]!);
    this.promptBacklog[row] = this.numbers.pendingTokens[row]! + this.numbers.bookedTokens[row]!;
    this.version += 1;
  }

  #count(row: number, by: number): void {
    if (this.role[row] === 1) this.#prefillRows += by;
    if (!this.isUsable(row)) return;
    this.usable += by;
    if (this.role[row] !== 1) this.usableForDecode += by;
    if (this.health[row] === 0) this.usableHealthy += by;
  }
}

// The routing decision: filter, score, pick. Pure: the same view, knowledge, request, profile, time and seed give the
// same decision record byte for byte, in whatever order the view lists its instances.
import type { DecisionCandidate, DecisionRecord, FleetView, Refusal, RequestInfo } from '../../proto/gen/messages.ts';
import { refusal } from '../errors/switchyard-error.ts';
import { blocksWanted, type Candidate, candidatesOf, type RoutingKnowledge, sequencesOn } from './candidate.ts';
import { type FilterQuestion, filters } from './filters.ts';
import { type Pick, pick } from './picker.ts';
import { profileJson, type RoutingProfile, scorerNames } from './profile.ts';
import { type ScoreQuestion, scorers } from './scorers.ts';

export interface RoutingQuestion {
  readonly request: RequestInfo;
  readonly profile: RoutingProfile;
  readonly nowMs: number;
  /** Unsigned 32 bits. */
  readonly seed: number;
  readonly routerId: string;
}

export interface RoutingDecision {
  /** Undefined: refused. */
  readonly chosen: { readonly instanceId: string; readonly address: string; readonly blocks: number } | undefined;
  readonly refusal: Refusal | null;
  readonly record: DecisionRecord;
}

/** Lets the caller put a span around each stage. */
export type Stage = <T>(name: 'route.filter' | 'route.score' | 'route.pick', run: (note: StageNote) => T) => T;
export type StageNote = (facts: Readonly<Record<string, string | number>>) => void;

/** Candidates kept in a record; a larger pool's record holds the best of them and says how many it left out. */
export const recordedCandidatesMax = 256;

const untraced: Stage = (_, run) => run(() => {});

export function decide(view: FleetView, knowledge: RoutingKnowledge, question: RoutingQuestion, stage: Stage = untraced): RoutingDecision {
  const facts: ViewFacts = { version: view.version, epoch: view.epoch, ageMs: Math.max(0, question.nowMs - view.atMs) };
  return decideAmong(candidatesOf(view, knowledge, question.request), facts, question, stage);
}

export interface ViewFacts {
  readonly version: number;
  readonly epoch: number;
  readonly ageMs: number;
}

/** The decision from candidates sorted by id; a replay calls it with those of the record. */
export function decideAmong(candidates: readonly Candidate[], view: ViewFacts, question: RoutingQuestion, stage: Stage = untraced): RoutingDecision {
  const dropped = stage('route.filter', (note) => {
    const found = filtered(candidates, question);
    note({ candidates: candidates.length, kept: candidates.length - found.size, dropped: droppedBy(found) });
    return found;
  });
  const kept = candidates.filter((candidate) => !dropped.has(candidate.instanceId));
  const scored = stage('route.score', () => scoredCandidates(kept, question));
  const picked = stage('route.pick', (note) => {
    if (scored.size === 0) return undefined;
    const choice = pick(
      [...scored].map(([instanceId, { total }]) => ({ instanceId, total })),
      question.profile,
      question.seed,
    );
    note(topFive(scored, choice));
    return choice;
  });
  const records = candidates.map((candidate): DecisionCandidate => {
    const drop = dropped.get(candidate.instanceId);
    const score = scored.get(candidate.instanceId);
    return {
      instanceId: candidate.instanceId,
      droppedBy: drop?.filter ?? '',
      droppedReason: drop?.reason ?? '',
      terms: score?.terms ?? [],
      total: score?.total ?? 0,
      input: candidate.input,
    };
  });
  const winner = picked && kept.find((candidate) => candidate.instanceId === picked.instanceId);
  const [reason, refused] = picked ? [picked.reason, null] : refusedBecause(dropped, question.request);
  return {
    chosen: winner && {
      instanceId: winner.instanceId,
      address: winner.address,
      blocks: blocksWanted(question.request, winner.input.blockTokens),
    },
    refusal: refused,
    record: recordOf(records, view, question, winner?.instanceId ?? '', reason),
  };
}

interface Drop {
  readonly filter: string;
  readonly reason: string;
}

function filtered(candidates: readonly Candidate[], { request, profile }: RoutingQuestion): Map<string, Drop> {
  const usable = candidates.filter(({ input }) => input.health !== 'dead' && !input.cordoned && input.accepting && input.role !== 'decode');
  const healthy = usable.filter(({ input }) => input.health === 'healthy');
  const allowSuspects = !healthy.some(({ instanceId }) => !request.avoidInstances.includes(instanceId));
  const allowAvoided = usable.every(({ instanceId }) => request.avoidInstances.includes(instanceId));
  const question: FilterQuestion = { request, profile, allowSuspects, allowAvoided };
  const dropped = new Map<string, Drop>();
  for (const candidate of candidates) {
    for (const filter of filters) {
      const verdict = filter.keep(question, candidate);
      if (verdict === true) continue;
      dropped.set(candidate.instanceId, { filter: filter.name, reason: verdict });
      break;
    }
  }
  return dropped;
}

interface Score {
  readonly terms: DecisionCandidate['terms'];
  readonly total: number;
}

function scoredCandidates(kept: readonly Candidate[], { request, profile }: RoutingQuestion): Map<string, Score> {
  let [leastSequences, mostSequences] = [Number.POSITIVE_INFINITY, 0];
  for (const { input } of kept) {
    leastSequences = Math.min(leastSequences, sequencesOn(input));
    mostSequences = Math.max(mostSequences, sequencesOn(input));
  }
  const question: ScoreQuestion = { request, profile, leastSequences, mostSequences };
  const active = scorerNames.filter((name) => profile.weights[name] > 0);
  const weightSum = active.reduce((sum, name) => sum + profile.weights[name], 0);
  return new Map(
    kept.map((candidate): [string, Score] => {
      const terms = active.map((name) => ({ scorer: name, value: scorers[name](question, candidate), weight: profile.weights[name] }));
      const sum = terms.reduce((total, term) => total + term.value * term.weight, 0);
      return [candidate.instanceId, { terms, total: weightSum > 0 ? sum / weightSum : 0 }];
    }),
  );
}

/** For people: which filter dropped how many. */
function droppedBy(dropped: ReadonlyMap<string, Drop>): string {
  const counts = new Map<string, number>();
  for (const { filter } of dropped.values()) counts.set(filter, (counts.get(filter) ?? 0) + 1);
  return [...counts].map(([filter, count]) => `${filter}=${count}`).join(' ');
}

function topFive(scored: ReadonlyMap<string, Score>, choice: Pick): Record<string, string | number> {
  const best = [...scored].sort(([a, x], [b, y]) => y.total - x.total || (a < b ? -1 : 1)).slice(0, 5);
  return {
    instance: choice.instanceId,
    reason: choice.reason,
    score: scored.get(choice.instanceId)!.total,
    top: best.map(([id, { total }]) => `${id}=${total.toFixed(4)}`).join(' '),
  };
}

function refusedBecause(dropped: ReadonlyMap<string, Drop>, request: RequestInfo): [DecisionRecord['reason'], Refusal] {
  const by = (filter: string) => [...dropped.values()].some((drop) => drop.filter === filter);
  if (by('saturation')) return ['all_saturated', refusal('all_saturated', `every instance of pool ${request.pool} is full`)];
  if (by('context')) {
    const message = `${request.promptTokens + request.generatedTokens} tokens do not fit any instance of pool ${request.pool}`;
    return ['too_long', refusal('context_length_exceeded', message)];
  }
  return ['no_candidate', refusal('no_instance', `no instance of pool ${request.pool} can take requests`)];
}

function recordOf(
  candidates: readonly DecisionCandidate[],
  view: ViewFacts,
  { request, profile, nowMs, seed, routerId }: RoutingQuestion,
  instanceId: string,
  reason: DecisionRecord['reason'],
): DecisionRecord {
  const kept =
    candidates.length <= recordedCandidatesMax
      ? candidates
      : [...candidates].sort((a, b) => b.total - a.total || (a.instanceId < b.instanceId ? -1 : 1)).slice(0, recordedCandidatesMax);
  return {
    meta: null,
    requestId: request.requestId,
    routerId,
    atMs: nowMs,
    viewVersion: view.version,
    viewEpoch: view.epoch,
    viewAgeMs: view.ageMs,
    profile: profile.name,
    seed,
    candidates: kept,
    instanceId,
    reason,
    request,
    profileJson: profileJson(profile),
    candidatesLeftOut: candidates.length - kept.length,
  };
}

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { exampleStatus, exampleNowMs as now } from './example-fleet.ts';
import {
  compareReports,
  isForgettable,
  isMeaningfulChange,
  judgeSilence,
  nextJudgementMs,
  restoreInstance,
  setCordon,
  setDeaf,
  startInstance,
  type TrackingLimits,
  takeReport,
} from './instance-state.ts';

const limits: TrackingLimits = { staleMs: 1_200, suspectMs: 1_500, deadMs: 3_000, forgetMs: 60_000, forgetCordonedMs: 600_000 };
const report = (sequenceNumber: number, fields = {}) => exampleStatus({ instanceId: 'chat-1', incarnation: 5, sequenceNumber, ...fields });
const reported = takeReport(startInstance('chat-1', now), report(1), now)[0];

describe('reports', () => {
  test('the first report makes an instance healthy', () => {
    expect(reported).toMatchObject({ health: 'healthy', stale: false, receivedAtMs: now });
  });
  test('a repeated report is no sign of life', () => {
    expect(takeReport(reported, report(1), now + 1_000)).toEqual([reported, 'repeated']);
  });
  test('an older report, delivered late, changes nothing', () => {
    const [third] = takeReport(reported, report(3), now + 100);
    expect(takeReport(third, report(2), now + 200)).toEqual([third, 'out_of_order']);
  });
  test('a restarted instance counts from the start again', () => {
    const [after, result] = takeReport(takeReport(reported, report(900), now)[0], report(0, { incarnation: 6 }), now + 1);
    expect(result).toBe('taken');
    expect(after.status?.incarnation).toBe(6);
  });
  test('the end state does not depend on the order of arrival', () => {
    fc.assert(
      fc.property(fc.array(fc.record({ incarnation: fc.integer({ min: 1, max: 3 }), sequenceNumber: fc.nat(20) }), { minLength: 1 }), (reports) => {
        const fold = (list: typeof reports) =>
          list.reduce((s, r) => takeReport(s, report(r.sequenceNumber, r), now)[0], startInstance('chat-1', now));
        const newest = [...reports].sort(compareReports).at(-1)!;
        expect(fold(reports).status).toMatchObject(newest);
        expect(fold([...reports].reverse()).status).toMatchObject(newest);
      }),
    );
  });
});

describe('silence', () => {
  test.each([
    [1_199, 'healthy', false],
    [1_200, 'healthy', true],
    [1_500, 'suspect', true],
    [2_999, 'suspect', true],
    [3_000, 'dead', true],
  ])('after %i ms the instance is %s, stale: %s', (silenceMs, health, stale) => {
    expect(judgeSilence(reported, now + silenceMs, limits)).toMatchObject({ health, stale });
  });
  test('a report brings a dead instance back', () => {
    const dead = judgeSilence(reported, now + 5_000, limits);
    expect(takeReport(dead, report(2), now + 5_001)[0]).toMatchObject({ health: 'healthy', stale: false });
  });
  test('a tracker that hears nobody kills nobody, and gives time to report afterwards', () => {
    const deaf = judgeSilence(setDeaf(reported, true, now + 100), now + 60_000, limits);
    expect(deaf).toMatchObject({ health: 'healthy', stale: true });
    const hearing = setDeaf(deaf, false, now + 60_000);
    expect(judgeSilence(hearing, now + 61_000, limits).health).toBe('healthy');
    expect(judgeSilence(hearing, now + 63_000, limits).health).toBe('dead');
  });
  test('judging at the announced times finds every change', () => {
    let state = reported;
    const seen: string[] = [];
    for (let at = nextJudgementMs(state, limits); at !== undefined && !isForgettable(state, at, limits); at = nextJudgementMs(state, limits)) {
      const next = judgeSilence(state, at, limits);
      expect(next).not.toBe(state);
      seen.push(`${at - now}:${next.health}:${next.stale}`);
      state = next;
    }
    expect(seen).toEqual(['1200:healthy:true', '1500:suspect:true', '3000:dead:true']);
  });
});

describe('cordon and memory', () => {
  test('cordoning twice is the same as once; lifting clears the reason', () => {
    const cordoned = setCordon(reported, true, 'operator');
    expect(setCordon(cordoned, true, 'operator')).toBe(cordoned);
    expect(setCordon(cordoned, false, 'operator')).toMatchObject({ cordoned: false, cordonReason: 'none' });
  });
  test.each([
    ['none', 60_000],
    ['scale_in', 60_000],
    ['operator', 600_000],
    ['drain', 600_000],
  ] as const)('a dead instance with cordon %s is forgotten after %i ms', (reason, afterMs) => {
    const dead = judgeSilence(setCordon(reported, reason !== 'none', reason), now + 3_000, limits);
    expect(isForgettable(dead, now + afterMs - 1, limits)).toBe(false);
    expect(isForgettable(dead, now + afterMs, limits)).toBe(true);
  });
  test('a restored instance is suspect until it reports', () => {
    const restored = restoreInstance({ ...reported, status: report(7), cordoned: true, cordonReason: 'drain' }, now + 10_000)!;
    expect(restored).toMatchObject({ health: 'suspect', stale: true, cordoned: true });
    expect(judgeSilence(restored, now + 12_999, limits).health).toBe('suspect');
    expect(judgeSilence(restored, now + 13_000, limits).health).toBe('dead');
    expect(takeReport(restored, report(8), now + 11_000)[0]).toMatchObject({ health: 'healthy', cordoned: true });
  });
});

describe('meaningful changes', () => {
  test.each([
    ['free blocks', { freeBlocks: 3 }, true],
    ['a sequence', { sequences: [{ requestId: 'r', state: 'decode' as const }] }, true],
    ['tokens only', { tokensOut: 99, stepMs: 21 }, false],
  ])('%s', (_name, fields, expected) => {
    const [after] = takeReport(reported, report(2, fields as object), now);
    expect(isMeaningfulChange(reported, after)).toBe(expected);
  });
});

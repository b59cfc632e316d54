import { describe, expect, test } from 'vitest';
import { VirtualClock } from '../clock/virtual-clock.ts';
import { endedSpan } from '../testing/ended-span.ts';
import { createKeptTraces, gatherMs, keepsPerSecond } from './kept-traces.ts';
import { createMemoryTelemetry } from './memory-telemetry.ts';
import type { SpanFacts } from './recorded-span.ts';
import { createSpanRing } from './span-ring.ts';

/** A process with a ring, whose exports and notices are seen. */
function makeProcess(clock: VirtualClock) {
  const telemetry = createMemoryTelemetry(clock);
  const unasked = () => {
    throw new Error('not asked for');
  };
  const ring = createSpanRing(unasked, { maxSpans: 1_000, maxBytes: 1_000_000 });
  const sent: string[] = [];
  const told: string[][] = [];
  const send = (span: SpanFacts) => sent.push(`${span.context.traceId} ${span.name}`);
  const kept = createKeptTraces({ clock, take: ring.take, send, counter: telemetry.counter('switchyard_traces_kept_total') });
  kept.tellOthers((traceIds) => told.push([...traceIds]));
  function end(traceId: string, name: string): void {
    const now = kept.has(traceId);
    const span = endedSpan({ traceId, name });
    ring.add(span, now);
    if (now) send(span);
  }
  return { kept, end, sent, told, telemetry };
}

describe('kept traces', () => {
  test('a kept trace is exported with what came before and what comes after, each span once, and told to others', async () => {
    const clock = new VirtualClock();
    const { kept, end, sent, told } = makeProcess(clock);
    end('a', 'before');
    end('b', 'other');
    kept.keep('a', 'moved');
    end('a', 'meanwhile');
    await clock.advance(gatherMs);
    end('a', 'after');
    kept.keep('a', 'moved');
    await clock.advance(gatherMs);
    expect(sent.toSorted()).toEqual(['a after', 'a before', 'a meanwhile']);
    expect(told).toEqual([['a'], ['a']]);
  });

  test('what another process keeps is exported and not told on', async () => {
    const clock = new VirtualClock();
    const { kept, end, sent, told } = makeProcess(clock);
    end('a', 'mine');
    kept.heard(['a', 'unknown']);
    await clock.advance(gatherMs);
    expect(sent).toEqual(['a mine']);
    expect(told).toEqual([]);
  });

  test('a flood is kept up to the limit, the rest is counted; refused requests leave room for failed ones', async () => {
    const clock = new VirtualClock();
    const { kept, told, telemetry } = makeProcess(clock);
    for (let index = 0; index < 1_000; index++) kept.keep(`refused-${index}`, 'refused');
    const refusedKept = telemetry.value('switchyard_traces_kept_total', { reason: 'refused', result: 'kept' });
    expect(refusedKept).toBeLessThanOrEqual(keepsPerSecond + 1);
    kept.keep('failed', 'failed');
    for (let index = 0; index < 1_000; index++) kept.keep(`slow-${index}`, 'slow');
    await clock.advance(gatherMs);
    expect(told.flat()).toContain('failed');
    expect(told.flat()).toHaveLength(2 * keepsPerSecond);
    expect(telemetry.value('switchyard_traces_kept_total')).toBe(2_001);
    await clock.advance(1_000);
    kept.keep('later', 'slow');
    expect(kept.has('later')).toBe(true);
  });

  test('what is remembered is bounded: the oldest is forgotten, and asking again brings it back', async () => {
    const clock = new VirtualClock();
    const { kept } = makeProcess(clock);
    for (let round = 0; round < 12; round++) {
      kept.heard(Array.from({ length: 1_000 }, (_, index) => `${round}-${index}`));
      await clock.advance(gatherMs * 2);
    }
    expect(kept.has('0-0')).toBe(false);
    expect(kept.has('11-999')).toBe(true);
    kept.heard(['0-0']);
    expect(kept.has('0-0')).toBe(true);
    await clock.advance(gatherMs * 20);
    expect(clock.pending).toBe(0);
  });

  test('at the end of a process what waits goes at once', () => {
    const { kept, end, sent, told } = makeProcess(new VirtualClock());
    end('a', 'last');
    kept.keep('a', 'failed');
    kept.flush();
    expect([sent, told]).toEqual([['a last'], [['a']]]);
  });
});

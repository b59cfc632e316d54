import { describe, expect, it } from 'vitest';
import { describeStep, describeWorkflow } from '../../lib/workflows/workflow-summary.ts';
import { approvalRequest, drainPlan, migrationPlan, scalePlan, transferPlan } from '../support/workflow-inputs.ts';

const bytes = (text: string) => Buffer.byteLength(text);

describe('the description of a workflow', () => {
  it('says in one line what it is about, with names to tell it by', () => {
    expect(describeWorkflow('migrateRequest', migrationPlan({ reasons: ['freeness 12 against 400', 'benefit 8'] }))).toEqual({
      summary: 'Move req-1 from chat-1 to chat-2 (operator, copy)',
      details: '- freeness 12 against 400\n- benefit 8',
      facts: {
        request: 'req-1',
        pool: 'chat',
        source: 'chat-1',
        target: 'chat-2',
        reason: 'operator',
        mode: 'copy',
        requestedBy: 'ada',
        gateway: 'gateway-1',
        epoch: 2,
      },
    });
    expect(describeWorkflow('transferKv', transferPlan()).summary).toBe('Copy KV of req-1 from chat-1 to chat-2');
    expect(describeWorkflow('drainInstance', drainPlan()).summary).toBe('Drain chat-1 of pool chat, asked for by ada');
    expect(describeWorkflow('scalePool', scalePlan()).details).toBe('- empty and stop chat-1');
    expect(describeWorkflow('approval', approvalRequest()).facts).toMatchObject({ pool: 'chat', requestedBy: 'ada', quorum: 1 });
  });

  it('fits what Temporal takes, however long the names are', () => {
    const { summary, details } = describeWorkflow('drainInstance', drainPlan({ requestedBy: '\u{1f600}'.repeat(1_000) }));
    expect(bytes(summary)).toBeLessThanOrEqual(400);
    expect(summary.startsWith('Drain chat-1 of pool chat')).toBe(true);
    expect(details).toBe('');
    const long = describeWorkflow('migrateRequest', migrationPlan({ reasons: Array.from({ length: 2_000 }, () => 'because it is so') }));
    expect(bytes(long.details)).toBeLessThanOrEqual(20_000);
  });

  it('has a line for steps whose name does not say who is meant', () => {
    expect(describeStep('setCordon', { instanceId: 'chat-1', reason: 'none' })).toBe('chat-1 takes requests again');
    expect(describeStep('cutOver', { plan: migrationPlan(), held: null, stage: 0 })).toBe('pause on chat-1, copy the rest, hand over at gateway-1');
    expect(describeStep('checkDrain', drainPlan())).toBeUndefined();
  });
});

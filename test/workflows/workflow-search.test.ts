// What Temporal is asked, and what is found without its search attributes.
import { describe, expect, it } from 'vitest';
import { isAbout, listQuery, searchAttributes } from '../../lib/workflows/workflow-search.ts';
import { describeWorkflow } from '../../lib/workflows/workflow-summary.ts';
import { approvalRequest, drainPlan, migrationPlan, scalePlan, transferPlan } from '../support/workflow-inputs.ts';

const factsOf = {
  migration: describeWorkflow('migrateRequest', migrationPlan({ requestId: 'req-1' })).facts,
  transfer: describeWorkflow('transferKv', transferPlan()).facts,
  drain: describeWorkflow('drainInstance', drainPlan()).facts,
  scaling: describeWorkflow('scalePool', scalePlan({ startInstanceIds: ['chat-4', 'chat-5'], stopInstanceIds: [] })).facts,
  approval: describeWorkflow('approval', approvalRequest()).facts,
};

describe('workflows', () => {
  it.each([
    ['migration', { SwitchyardRequest: 'req-1', SwitchyardPool: 'chat', SwitchyardInstances: ['chat-1', 'chat-2'] }],
    ['transfer', { SwitchyardRequest: 'req-1', SwitchyardInstances: ['chat-1', 'chat-2'] }],
    ['drain', { SwitchyardPool: 'chat', SwitchyardInstances: ['chat-1'] }],
    ['scaling', { SwitchyardPool: 'chat', SwitchyardInstances: ['chat-4', 'chat-5'] }],
    ['approval', { SwitchyardPool: 'chat' }],
  ] as const)('a %s says what it is about', (which, attributes) => {
    expect(Object.fromEntries(searchAttributes(factsOf[which]).map(({ key, value }) => [key.name, value]))).toEqual(attributes);
  });

  it('are told apart by it', () => {
    expect(isAbout(factsOf.migration, { request: 'req-1', instance: 'chat-2', pool: 'chat' })).toBe(true);
    expect(isAbout(factsOf.migration, { request: 'req-2' })).toBe(false);
    expect(isAbout(factsOf.scaling, { instance: 'chat-5' })).toBe(true);
    expect(isAbout(factsOf.scaling, { instance: 'chat' })).toBe(false);
    expect(isAbout(factsOf.approval, { request: 'req-1' })).toBe(false);
    expect(isAbout({}, {})).toBe(true);
  });

  it('are asked for in the words of the server, and nobody slips in others', () => {
    expect(listQuery({ name: 'drainInstance', running: true, instance: 'chat-1' }, true)).toBe(
      "WorkflowType = 'drainInstance' AND ExecutionStatus = 'Running' AND SwitchyardInstances = 'chat-1'",
    );
    expect(listQuery({ request: 'req-1' }, false)).toBe('');
    expect(() => listQuery({ request: "x' OR WorkflowType = 'approval" }, true)).toThrow('an id has');
  });
});

// Requests that no engine should see: what the client is told, and that nobody else was asked.
import { expect } from 'vitest';
import { probeNames } from '../others.ts';
import type { Probe } from '../probe.ts';
import { agents, gatewayId, model, type ProbeFleet, prompt, traceOf } from '../probe-fleet.ts';

const bad = [
  ['bad JSON', '{"model":', 400, 'invalid_json', null],
  ['no object', '[1]', 400, 'invalid_json', null],
  ['no messages', `{"model":"${model}"}`, 400, 'invalid_request', 'messages'],
  ['empty messages', `{"model":"${model}","messages":[]}`, 400, 'invalid_request', 'messages'],
  ['no model', '{"messages":[{"role":"user","content":"Hello"}]}', 400, 'invalid_request', 'model'],
  ['an unknown model', '{"model":"gpt-unknown","messages":[{"role":"user","content":"Hello"}]}', 404, 'model_not_found', 'model'],
] as const;

export const badRequest: Probe = {
  name: probeNames.badRequest,
  mustHold: "400 or 404 in OpenAI's shape, before any engine",
  async run(fleet) {
    const asked = [
      { at: agents, name: 'switchyard_engine_opens_total' },
      { at: [gatewayId], name: 'switchyard_bus_requests_total', labels: 'admit' },
    ];
    // A good one among them is asked about, or the counts would say nothing.
    const { by } = await fleet.grown(asked, async () => {
      await fleet.stream(prompt(5), 2);
      await sendAll(fleet);
    });
    expect(by).toEqual([1, 1]);
    return { says: `OpenAI-shaped 400 and 404 (${bad.length} kinds), nothing asked of admission or an engine`, timings: [] };
  },
};

async function sendAll(fleet: ProbeFleet): Promise<void> {
  for (const [what, body, status, code, param] of bad) {
    const answer = await fleet.post({ body, headers: traceOf().headers }).answer;
    expect([answer?.status, answer?.headers['content-type']], what).toEqual([status, 'application/json']);
    const { error } = JSON.parse(answer?.text ?? '') as { error: Record<string, unknown> };
    expect(Object.keys(error).toSorted(), what).toEqual(['code', 'message', 'param', 'type']);
    expect([error.code, error.param], what).toEqual([code, param]);
    expect(['invalid_request_error', 'not_found_error'], what).toContain(error.type);
    expect(answer?.headers['x-request-id'], what).toBeTruthy();
  }
}

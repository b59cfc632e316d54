// Recorded histories replayed on the workflows as they are now: a workflow that was started by an earlier version must
// go on under this one. No server is needed. When this fails, running workflows would fail: either keep the old path
// (patched() of Temporal) or, before a first release, record again (record-histories.ts).
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { historyFromJSON } from '@temporalio/common/lib/proto-utils.js';
import { Worker } from '@temporalio/worker';
import { DeterminismViolationError } from '@temporalio/workflow';
import { beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../../lib/clock/system-clock.ts';
import { createMemoryTelemetry } from '../../lib/telemetry/memory-telemetry.ts';
import { installRuntime } from '../../lib/workflows/temporal-runtime.ts';
import { bundleWorkflows } from '../../workflows/bundle.ts';

const folder = join(import.meta.dirname, 'histories');
const files = readdirSync(folder).sort();

describe('recorded histories', () => {
  let codePath: string;

  beforeAll(async () => {
    installRuntime(createMemoryTelemetry(systemClock, { process: 'test' }));
    codePath = await bundleWorkflows();
  });

  const replay = (json: string) => Worker.runReplayHistory({ workflowBundle: { codePath } }, historyFromJSON(JSON.parse(json)));

  it('are there for every workflow', () => {
    const names = ['approval', 'drain-instance', 'migrate-request', 'scale-pool', 'transfer-kv'];
    for (const name of names) expect(files.filter((file) => file.startsWith(name)).length, name).toBeGreaterThan(0);
  });

  it.each(files)('%s', async (file) => {
    await replay(readFileSync(join(folder, file), 'utf8'));
  });

  it('would not replay if the steps had changed', async () => {
    const history = readFileSync(join(folder, 'migrate-request-committed.json'), 'utf8');
    await expect(replay(history.replaceAll('"preCopy"', '"somethingElse"'))).rejects.toThrow(DeterminismViolationError);
  });
});

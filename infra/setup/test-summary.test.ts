import { describe, expect, test } from 'vitest';
import { closingLine, summarise, type TestReport } from './test-summary.ts';

const file = (name: string, statuses: string[], more: Partial<TestReport['testResults'][number]> = {}) => ({
  name: `/repo/${name}`,
  status: statuses.includes('failed') ? 'failed' : 'passed',
  startTime: 0,
  endTime: 1000,
  assertionResults: statuses.map((status, index) => ({ fullName: `case ${index}`, status })),
  ...more,
});

function report(testResults: TestReport['testResults']): TestReport {
  const statuses = testResults.flatMap((one) => one.assertionResults.map((test) => test.status));
  const count = (status: string) => statuses.filter((one) => one === status).length;
  return {
    success: testResults.every((one) => one.status === 'passed'),
    numPassedTests: count('passed'),
    numFailedTests: count('failed'),
    numPendingTests: count('skipped'),
    numTodoTests: 0,
    testResults,
  };
}

describe('summary of a test run', () => {
  test('counts and names what failed', () => {
    const summary = summarise(report([file('a.test.ts', ['passed', 'failed']), file('b.test.ts', ['passed', 'skipped'])]), 1, '/repo');
    expect(closingLine(summary)).toBe('2 passed, 1 failed, 1 skipped');
    expect(summary.lines).toContain('  a.test.ts: case 1');
  });

  test('a file that could not be loaded counts as a failure', () => {
    const broken = file('c.test.ts', [], { status: 'failed', message: '\nCannot find module x' });
    const summary = summarise(report([file('a.test.ts', ['passed']), broken]), 1, '/repo');
    expect(closingLine(summary)).toBe('1 passed, 1 failed');
    expect(summary.lines).toContain('  c.test.ts: Cannot find module x');
  });

  test('an error outside of the tests is not a success', () => {
    expect(closingLine(summarise(report([file('a.test.ts', ['passed'])]), 1, '/repo'))).toBe('1 passed, 1 failed');
  });

  test('no report is a failure', () => {
    expect(closingLine(summarise(undefined, 1, '/repo'))).toBe('0 passed, 1 failed');
  });

  test('all passed', () => {
    expect(closingLine(summarise(report([file('a.test.ts', ['passed'])]), 0, '/repo'))).toBe('1 passed, 0 failed');
  });
});

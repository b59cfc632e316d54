// Reads what vitest's JSON reporter writes and says it in a few lines. Pure.

export interface TestReport {
  readonly success: boolean;
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly numPendingTests: number;
  readonly numTodoTests: number;
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly message?: string;
    readonly startTime: number;
    readonly endTime: number;
    readonly assertionResults: readonly { readonly fullName: string; readonly status: string }[];
  }[];
}

export interface TestSummary {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  readonly lines: readonly string[];
}

const maxFailuresListed = 30;
const slowestListed = 5;

/** `exitCode` is vitest's: it also fails for errors outside of tests, which count as one failure when there is no other. */
export function summarise(report: TestReport | undefined, exitCode: number, root: string): TestSummary {
  if (report === undefined) {
    return { passed: 0, failed: 1, skipped: 0, lines: ['The test runner ended without a report: see above.'] };
  }
  const lines: string[] = [];
  const failures: string[] = [];
  for (const file of report.testResults) {
    const name = relativeTo(root, file.name);
    const failed = file.assertionResults.filter((test) => test.status === 'failed');
    failures.push(...failed.map((test) => `${name}: ${test.fullName}`));
    // A file that could not be loaded, or whose hooks failed, has no failed test of its own.
    if (file.status === 'failed' && failed.length === 0) failures.push(`${name}: ${firstLine(file.message)}`);
  }
  if (failures.length === 0 && exitCode !== 0) failures.push('an error outside of the tests: see above');
  if (failures.length > 0) {
    lines.push('Failed:', ...failures.slice(0, maxFailuresListed).map((failure) => `  ${failure}`));
    if (failures.length > maxFailuresListed) lines.push(`  and ${failures.length - maxFailuresListed} more`);
  }
  const slowest = report.testResults
    .map((file) => ({ name: relativeTo(root, file.name), seconds: (file.endTime - file.startTime) / 1000 }))
    .sort((a, b) => b.seconds - a.seconds || (a.name < b.name ? -1 : 1))
    .slice(0, slowestListed);
  if (slowest.length > 0)
    lines.push(`Slowest of ${report.testResults.length} files: ${slowest.map((file) => `${file.name} ${file.seconds.toFixed(1)} s`).join(', ')}`);
  return {
    passed: report.numPassedTests,
    failed: failures.length,
    skipped: report.numPendingTests + report.numTodoTests,
    lines,
  };
}

/** The line that scripts read. */
export function closingLine(summary: TestSummary): string {
  return `${summary.passed} passed, ${summary.failed} failed${summary.skipped > 0 ? `, ${summary.skipped} skipped` : ''}`;
}

function firstLine(text: string | undefined): string {
  return text?.split('\n').find((line) => line.trim() !== '') ?? 'could not be run';
}

function relativeTo(root: string, path: string): string {
  return path.startsWith(`${root}/`) ? path.slice(root.length + 1) : path;
}

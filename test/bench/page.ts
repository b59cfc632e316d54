// Puts the kept results into docs/prices.md, between the marks of each bench, so that no number there is typed: `npm run
// bench:page`. A bench without a full result shows its short one, and says so.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { filled } from './harness/markdown.ts';
import { readResult, resultPath } from './harness/report.ts';

const path = join(import.meta.dirname, '../../docs/prices.md');

let page = readFileSync(path, 'utf8');
const benches = [...page.matchAll(/^<!-- ([a-z-]+): begin -->$/gm)].map(([, bench]) => bench!);
for (const bench of benches) {
  const kept = (['full', 'short'] as const).map((mode) => resultPath(bench, mode)).find((file) => existsSync(file));
  if (kept === undefined) process.stderr.write(`no result of ${bench} yet: npm run bench:${bench}\n`);
  else page = filled(page, readResult(kept));
}
writeFileSync(path, page);

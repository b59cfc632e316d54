// `npm run fuzz`: at least a million inputs through every entrance. Prints seeds, counts for each entrance, and every finding.
// --inputs <n>, --seed <n> and --only <part of an entrance's name> narrow it. Exits with 1 when there is a finding.
import { parseArgs } from 'node:util';
import { entrances } from './entrances/all.ts';
import { fuzz } from './fuzz.ts';
import { findingLines, outcomeText, table } from './report.ts';

const { values } = parseArgs({
  options: { inputs: { type: 'string', default: '1000000' }, seed: { type: 'string', default: String(Date.now() % 1e9) }, only: { type: 'string' } },
});
const chosen = entrances.filter(({ name }) => values.only === undefined || name.includes(values.only));
const seed = Number(values.seed);
process.stdout.write(`seed ${seed}\n`);
const { reports, findings } = await fuzz(chosen, {
  seed,
  inputs: Number(values.inputs),
  told: (report) =>
    process.stdout.write(`${report.name}: ${report.inputs} inputs in ${report.seconds.toFixed(1)} s; ${outcomeText(report.outcomes)}\n`),
});
process.stdout.write(`\n${table(reports, findings.all)}\n\n${findingLines(findings.all)}\n`);
process.exit(findings.all.length > 0 ? 1 : 0);

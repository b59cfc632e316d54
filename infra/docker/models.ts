// Provides SmolLM2 in the folder of a composed installation. Ends well also where it cannot be had: the other pools run without it.

import { provideKnown, smollm2 } from '../setup/models.ts';
import { createProgress } from '../setup/progress.ts';

const folder = process.argv[2];
if (folder === undefined) throw new Error('usage: models.ts <folder>');
const progress = createProgress();
try {
  process.stdout.write(`${await provideKnown(smollm2, progress, { folder })} is there\n`);
} catch (error) {
  process.stdout.write(`${error instanceof Error ? error.message : String(error)}\nThe pool smollm2 has no instance that can be used.\n`);
}
progress.close();

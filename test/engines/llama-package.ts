// node-llama-cpp for tests, where it is: nothing is fetched for them.

import { provideLlama } from '../../infra/setup/llama-package.ts';
import { noProgress } from '../../infra/setup/progress.ts';

/** The folder whose node_modules has it. Undefined: tests of llama engines are skipped. */
export const llamaPackage = await provideLlama(noProgress, { onlyFound: true });

/** For the name of a suite that is skipped. */
export const llamaMissing = llamaPackage === undefined ? ' (skipped: node-llama-cpp is not here; npm start installs it)' : '';

// Loads node-llama-cpp out of the folder that is named, as an engine would, and prints what it is. For set-up: a binary that
// does not run on this machine (an old libc, a missing instruction) is noticed here and not in an engine.
//
//   node infra/setup/try-llama.mjs <folder> [gpu]
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [folder, gpu] = process.argv.slice(2);
const { getLlama } = await import(pathToFileURL(join(folder, 'node_modules/node-llama-cpp/dist/index.js')).href);
const llama = await getLlama({ gpu: gpu === 'gpu' ? 'auto' : false, build: 'never', skipDownload: true, progressLogs: false, logLevel: 'error' });
process.stdout.write(`${JSON.stringify({ release: llama.llamaCppRelease.release, gpu: llama.gpu })}\n`);
await llama.dispose();
process.exit(0);

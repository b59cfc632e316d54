// A program: opens a llama engine, says the process id of its child, and waits to be killed. Arguments: package folder, model file.
import { systemClock } from '../../lib/clock/system-clock.ts';
import { llamaEngineSchema } from '../../lib/config/fleet.ts';
import { LlamaEngine } from '../../lib/engines/llama/llama-engine.ts';

const [packageDir, modelFile = ''] = process.argv.slice(2);
const config = llamaEngineSchema.parse({ contextTokens: 256 });
const hooks = { onEvents: () => {}, onLifecycle: () => {}, onChange: () => {} };
const engine = new LlamaEngine({ model: 'random', config, packageDir, modelFile, pid: process.pid, clock: systemClock, hooks });
await engine.ready;
console.log(engine.running?.child.pid);
setInterval(() => {}, 1_000);

// Each kind of server that is known.
import type { ServerKind } from '../facts.ts';
import type { Dialect } from './dialect.ts';
import { generic } from './generic.ts';
import { llamaServer } from './llama-server.ts';
import { sglang } from './sglang.ts';
import { vllm } from './vllm.ts';

export const dialects: Readonly<Record<ServerKind, Dialect>> = { vllm, sglang, 'llama-server': llamaServer, generic };

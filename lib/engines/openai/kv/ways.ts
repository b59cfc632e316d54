// Which way a server can hand KV to another of its kind, if any, and with which others.
import type { OpenaiEngineConfig } from '../../../config/fleet.ts';
import type { Clock } from '../../../ports/clock.ts';
import type { ServerClient } from '../client.ts';
import { continuesTokens, type ServerFacts } from '../facts.ts';
import type { HandOverWay } from './hand-over-way.ts';
import { nixlWay } from './nixl.ts';
import { removeSlotFile } from './slot-files.ts';
import { slotsWay } from './slots.ts';

type Config = Pick<OpenaiEngineConfig, 'slotDir'>;

/** Empty: none. Two servers with the same one read each other's KV. */
export function kvFormatOf(facts: ServerFacts | undefined, { slotDir }: Config): string {
  if (!facts || !continuesTokens(facts)) return '';
  const shape = [facts.model, facts.kvShape].join(':');
  if (facts.kind === 'vllm' && facts.kvConnector) return `vllm-nixl:${facts.software.replace(/^vllm /, '')}:${shape}`;
  if (facts.kind === 'llama-server' && facts.slots && slotDir) return `llama-slots:${facts.software.replace(/^llama-server /, '')}:${shape}`;
  return '';
}

/** Decided anew each time: a server that is restarted can be another one. */
export function wayOf(options: { client: ServerClient; clock: Clock; config: Config; facts: () => ServerFacts | undefined }): HandOverWay {
  const { client, clock, config, facts } = options;
  const nixl = nixlWay(client, () => facts()?.model ?? '');
  const slots = slotsWay({ client, clock, remove: (file) => removeSlotFile(config.slotDir, file) });
  const way = () => (facts()?.kind === 'llama-server' ? slots : nixl);
  return { give: (giving) => way().give(giving), take: (given) => way().take(given), forget: (given) => way().forget(given) };
}

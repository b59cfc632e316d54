// Every way into Switchyard.
import type { Entrance } from '../entrance.ts';
import { busEntrance } from './bus.ts';
import { commandLineEntrance } from './command-line.ts';
import { configEntrance } from './config.ts';
import { doorEntrance } from './doors.ts';
import { gatewayHttpEntrance, operatorHttpEntrance } from './http.ts';
import { kvReceiverEntrance, kvSenderEntrance } from './kv.ts';
import { linkAgentEntrance } from './link-agent.ts';
import { linkGatewayEntrance } from './link-gateway.ts';
import { proofEntrance } from './proofs.ts';
import { socketEntrance } from './sockets.ts';
import { wireEntrance } from './wire.ts';

export const entrances: readonly Entrance[] = [
  wireEntrance,
  busEntrance,
  linkAgentEntrance,
  linkGatewayEntrance,
  proofEntrance,
  doorEntrance,
  kvReceiverEntrance,
  kvSenderEntrance,
  gatewayHttpEntrance,
  operatorHttpEntrance,
  socketEntrance,
  configEntrance,
  commandLineEntrance,
];

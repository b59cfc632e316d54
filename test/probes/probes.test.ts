// What users of other gateways run into, tried on ours: one fleet for all. Those that kill come last.
import { afterAll, beforeAll, describe } from 'vitest';
import { tryProbes } from './probe.ts';
import { type ProbeFleet, startProbeFleet } from './probe-fleet.ts';
import { allDead } from './rows/all-dead.ts';
import { allRefuse } from './rows/all-refuse.ts';
import { backAgain } from './rows/back-again.ts';
import { badRequest } from './rows/bad-request.ts';
import { beforeFirstByte } from './rows/before-first-byte.ts';
import { clientGone } from './rows/client-gone.ts';
import { fields } from './rows/fields.ts';
import { firstEvent } from './rows/first-event.ts';
import { midStream } from './rows/mid-stream.ts';
import { oneBroken } from './rows/one-broken.ts';
import { underLoad } from './rows/under-load.ts';

describe('where other gateways fall short', () => {
  let fleet: ProbeFleet;
  beforeAll(async () => {
    fleet = await startProbeFleet();
  }, 240_000);
  afterAll(() => fleet?.stop());

  tryProbes(
    [badRequest, fields, firstEvent, clientGone, underLoad, oneBroken, allRefuse, midStream, beforeFirstByte, backAgain, allDead],
    () => fleet,
  );
});

// The credentials of a composed installation: a folder for each owner, mounted into its containers alone. Runs before
// everything else, as root, so that each file can be given to the user that reads it. Idempotent.
import { chmodSync, chownSync, mkdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { seatName } from '../../lib/roles/agent-seat.ts';
import { serviceNames } from '../../lib/run/service.ts';
import { prepareCredentials } from '../setup/credentials.ts';
import { loadFleet } from '../setup/load-fleet.ts';
import { firstInstances, laterInstances } from '../setup/seats.ts';

/** The user `node` of the image. */
const serviceUser = 1000;
const folder = process.argv[2];
if (folder === undefined) throw new Error('usage: credentials.ts <folder>');

const all = join(folder, 'all');
const fleet = loadFleet(join(import.meta.dirname, '../config'));
/** Every agent may also be told to start what no agent has from the start. */
const launches = laterInstances(fleet);
const seats = firstInstances(fleet).map((instance) => ({ instances: [instance], launches }));
const ownFolders: readonly string[] = [...serviceNames, ...seats.map(seatName), 'nats', 'redis'];
for (const owner of ownFolders) mkdirSync(join(folder, owner), { recursive: true });
const prepared = prepareCredentials(all, {
  nats: true,
  redis: true,
  readOnlyKeys: true,
  seats,
  // Its health, for the check of its container alone.
  natsExtra: 'http: "127.0.0.1:8222"\n',
  folderOf: (owner) => (ownFolders.includes(owner) ? join(folder, owner) : all),
});
const written: [owner: string, path: string][] = [
  ...serviceNames.map((name): [string, string] => [name, prepared.credentialsPath(name)]),
  ...seats.map((seat): [string, string] => [seatName(seat), prepared.seat(seat).path]),
];
for (const [owner, path] of written) {
  const own = join(folder, owner, 'credentials.json');
  renameSync(path, own);
  chownSync(own, serviceUser, serviceUser);
}
// Neither has a secret, and those servers run as users of their own.
for (const path of [prepared.natsConfigPath, prepared.redisAclPath]) chmodSync(path, 0o644);

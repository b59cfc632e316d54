// The credentials of a composed installation: a folder for each owner, mounted into its containers alone. Runs before
// everything else, as root, so that each file can be given to the user that reads it. Idempotent.
import { appendFileSync, chmodSync, chownSync, mkdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { serviceNames } from '../../lib/run/service.ts';
import { prepareCredentials } from '../setup/credentials.ts';

/** The user `node` of the image. */
const serviceUser = 1000;
const folder = process.argv[2];
if (folder === undefined) throw new Error('usage: credentials.ts <folder>');

const all = join(folder, 'all');
const ownFolders: readonly string[] = [...serviceNames, 'nats', 'redis'];
for (const owner of ownFolders) mkdirSync(join(folder, owner), { recursive: true });
const prepared = prepareCredentials(all, {
  nats: true,
  redis: true,
  readOnlyKeys: true,
  folderOf: (owner) => (ownFolders.includes(owner) ? join(folder, owner) : all),
});
for (const name of serviceNames) {
  const path = join(folder, name, 'credentials.json');
  renameSync(prepared.credentialsPath(name), path);
  chownSync(path, serviceUser, serviceUser);
}
// Its health, for the check of its container alone.
appendFileSync(prepared.natsConfigPath, 'http: "127.0.0.1:8222"\n');
// Neither has a secret, and those servers run as users of their own.
for (const path of [prepared.natsConfigPath, prepared.redisAclPath]) chmodSync(path, 0o644);

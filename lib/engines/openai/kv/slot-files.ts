// Saved slots of llama-server lie in a folder that servers and agent share; the servers do not remove them.
import { rm } from 'node:fs';
import { join } from 'node:path';

/** Best effort: what cannot be removed stays. */
export function removeSlotFile(folder: string | undefined, file: string): void {
  if (folder !== undefined) rm(join(folder, file), { force: true }, () => {});
}

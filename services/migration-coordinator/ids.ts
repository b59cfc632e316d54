// Ids of workflows. They carry what a successor must know when nothing else was kept.

/** Says request and epoch, so that a successor who knows nothing else will not move the request a second time. */
export function migrationIdOf(requestId: string, toEpoch: number, nowMs: number): string {
  return `migrate-${requestId}-${toEpoch}-${Math.floor(nowMs).toString(36)}`;
}

export function parseMigrationId(id: string): { requestId: string; toEpoch: number } | undefined {
  const match = /^migrate-(.+)-(\d+)-[0-9a-z]+$/.exec(id);
  return match ? { requestId: match[1]!, toEpoch: Number(match[2]) } : undefined;
}

/** The same command gives the same drain. */
export function drainIdOf(instanceId: string, commandId: string): string {
  return `drain-${instanceId}-${commandId.replace(/[^0-9a-zA-Z]/g, '').slice(-12)}`;
}

export function instanceOfDrain(id: string): string | undefined {
  return /^drain-(.+)-[0-9a-zA-Z]*$/.exec(id)?.[1];
}

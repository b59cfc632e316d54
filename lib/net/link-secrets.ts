// What the ends of the data plane prove themselves with. Gateways know the fleet secret, from which the secret of every
// instance is made; an agent knows those of its own instances alone. So an agent that was taken over is neither a gateway to
// others nor another agent. KV connections, which every agent opens to every other, have one secret; what may be written over
// them is up to the token of each transfer.
import { createHmac } from 'node:crypto';

export interface LinkSecrets {
  /** Several with commas: the first is used, all are taken, so that a new one can be brought in. */
  readonly fleet?: string | undefined;
  /** Of an agent that does not know the fleet secret. */
  readonly own?: AgentSecrets | undefined;
}

export interface AgentSecrets {
  /** By instance; several with commas, as above. */
  readonly link: Readonly<Record<string, string>>;
  readonly kv: string;
}

/** What an agent that speaks for these instances is given. */
export function agentSecrets(fleet: string, instanceIds: readonly string[]): AgentSecrets {
  const made = (purpose: string) =>
    listed(fleet)
      .map((secret) => derived(secret, purpose))
      .join(',');
  return { link: Object.fromEntries(instanceIds.map((id) => [id, made(linkPurpose(id))])), kv: made(kvPurpose) };
}

/** Secrets of the token link to an instance; '' stands for the fleet as a whole. The first is used, all are taken. */
export function linkSecretsOf({ fleet, own }: LinkSecrets, instanceId: string): readonly string[] {
  if (fleet === undefined) return own && Object.hasOwn(own.link, instanceId) ? listed(own.link[instanceId]!) : [];
  return instanceId === '' ? listed(fleet) : listed(fleet).map((secret) => derived(secret, linkPurpose(instanceId)));
}

export function kvSecretsOf({ fleet, own }: LinkSecrets): readonly string[] {
  if (fleet === undefined) return own ? listed(own.kv) : [];
  return listed(fleet).map((secret) => derived(secret, kvPurpose));
}

const kvPurpose = 'kv connections';
const linkPurpose = (instanceId: string) => `token link to ${instanceId}`;

function derived(secret: string, purpose: string): string {
  return createHmac('sha256', secret).update(`switchyard secret of ${purpose}`).digest('base64url');
}

function listed(secrets: string): string[] {
  return secrets.split(',').map((secret) => secret.trim());
}

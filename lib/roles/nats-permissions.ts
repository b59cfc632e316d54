// What NATS lets a user publish and subscribe, from its role.
import { deliverSubject } from '../bus/nats-consumers.ts';
import { matches } from '../bus/subject.ts';
import { recordedTopics } from '../contracts.ts';
import type { BusRole } from './roles.ts';

export interface NatsPermissions {
  readonly publish: readonly string[];
  readonly subscribe: readonly string[];
  /** May answer what it was asked, once, wherever the answer is wanted. */
  readonly responds: boolean;
}

/** Answers come to subjects that no other user can listen to. */
export function inboxPrefixOf(user: string): string {
  return `_INBOX.${user}`;
}

function natsPermissions({ name, role }: Pick<NatsUser, 'name' | 'role'>): NatsPermissions {
  const patterns = (of: readonly { readonly pattern: string }[]) => of.map(({ pattern }) => pattern);
  const api = (...names: string[]) => names.map((name) => `$JS.API.${name}`);
  const publish = [
    ...patterns([...role.publishes, ...role.asks, ...role.records]),
    ...role.records.flatMap((topic) => declaring(streamOf(topic))),
    ...role.consumes.flatMap(({ topic, durable }) => {
      const stream = streamOf(topic);
      const consumer = ['CREATE', 'INFO'].flatMap((what) => api(`CONSUMER.${what}.${stream}.${durable}`));
      return [...declaring(stream), ...consumer, ...api(`CONSUMER.CREATE.${stream}.${durable}.>`), `$JS.ACK.${stream}.${durable}.>`];
    }),
    ...role.reads.flatMap((topic) => {
      const stream = streamOf(topic);
      // Through consumers that last as long as the look.
      return [...declaring(stream), ...api(...['CREATE', 'INFO', 'DELETE', 'MSG.NEXT'].map((what) => `CONSUMER.${what}.${stream}.>`))];
    }),
  ];
  const subscribe = [
    ...patterns([...role.hears, ...role.serves]),
    ...role.consumes.map(({ topic, durable }) => deliverSubject(streamOf(topic), durable)),
    `${inboxPrefixOf(name)}.>`,
  ];
  return { publish: sorted(publish), subscribe: sorted(subscribe), responds: role.serves.length > 0 };
}

/** Whoever needs a stream declares it; nobody may delete or empty one. */
function declaring(stream: string): string[] {
  return ['CREATE', 'UPDATE', 'INFO'].map((what) => `$JS.API.STREAM.${what}.${stream}`);
}

function streamOf({ pattern }: { readonly pattern: string }): string {
  const recorded = recordedTopics.find(({ topic }) => topic.pattern === pattern || matches(topic.pattern, pattern));
  if (!recorded) throw new Error(`${pattern} is recorded by a role, and lib/contracts.ts has no stream for it`);
  return recorded.stream;
}

function sorted(subjects: readonly string[]): string[] {
  return [...new Set(subjects)].toSorted();
}

export interface NatsUser {
  readonly name: string;
  readonly role: Required<BusRole>;
  /** Of its nkey. */
  readonly publicKey: string;
}

/** A configuration file of nats-server. It has no secrets. */
export function natsConfig(all: readonly NatsUser[]): string {
  // NATS takes an empty list of what is allowed for no list.
  const only = (subjects: readonly string[]) =>
    subjects.length === 0 ? 'deny: [">"]' : `allow: [${subjects.map((subject) => JSON.stringify(subject)).join(', ')}]`;
  const users = all.map((user) => {
    const { publish, subscribe, responds } = natsPermissions(user);
    return [
      `    # ${user.name}`,
      '    {',
      `      nkey: ${user.publicKey}`,
      '      permissions {',
      `        publish { ${only(publish)} }`,
      `        subscribe { ${only(subscribe)} }`,
      // Longer than the longest answer takes: one copy stage.
      ...(responds ? ['        allow_responses { max: 1, expires: "15m" }'] : []),
      '      }',
      '    }',
    ].join('\n');
  });
  return `# Made from lib/roles/roles.ts at every start; changes are overwritten.\nauthorization {\n  timeout: 5\n  users = [\n${users.join('\n')}\n  ]\n}\n`;
}

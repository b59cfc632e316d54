// What holds for every contract: an envelope on everything that travels, an epoch on everything that commands, subjects
// that are told apart. Deadlines and trace headers are filled in by the bus: test/conformance/bus.test.ts.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { matches } from './bus/subject.ts';
import * as contracts from './contracts.ts';
import type { Rpc, Topic } from './ports/bus.ts';

const root = join(import.meta.dirname, '../proto/switchyard');
type Fields = ReadonlyMap<string, string>;

/** Message name to its fields, name to type. */
const messages = new Map<string, Fields>();
for (const entry of readdirSync(root, { recursive: true, withFileTypes: true })) {
  if (!entry.name.endsWith('.proto')) continue;
  const text = readFileSync(join(entry.parentPath, entry.name), 'utf8').replace(/\/\/[^\n]*/g, '');
  for (const [, name = '', body = ''] of text.matchAll(/^message (\w+) \{\n([\s\S]*?)^\}/gm)) {
    const fields = body.matchAll(/^ {2,}(?:repeated )?([\w.]+) (\w+) = \d+;/gm);
    messages.set(name, new Map([...fields].map(([, type = '', field = '']) => [field, type])));
  }
}

const isRpc = (contract: object): contract is Rpc<object, object> => 'question' in contract;
const isTopic = (contract: object): contract is Topic<object> => 'message' in contract && 'pattern' in contract;
const all = Object.entries(contracts).filter(([, contract]) => !Array.isArray(contract)) as [string, Rpc<object, object> | Topic<object>][];

/** Messages that contracts.ts names, from its text: a codec does not know its name. */
const source = readFileSync(join(import.meta.dirname, 'contracts.ts'), 'utf8');
const used = [...new Set([...source.matchAll(/\bm\.([A-Z]\w+)/g)].map(([, name = '']) => name))].filter((name) => name !== 'Meta').sort();

test('the files have been read', () => {
  expect(messages.size).toBeGreaterThan(50);
  expect(messages.get('AdmitReply')?.get('assignment')).toBe('Assignment');
  expect(all.every(([, contract]) => isRpc(contract) || isTopic(contract))).toBe(true);
  expect(used.length).toBeGreaterThan(30);
});

describe('every message that travels alone', () => {
  test.each(used)('%s has an envelope', (name) => {
    expect(messages.get(name)?.get('meta')).toMatch(/^(switchyard\.common\.v1\.)?Meta$/);
  });

  test.each(all)('%s carries id, deadline, time, sender and trace through its codecs', (_name, contract) => {
    const meta = { id: 'm-1', deadlineMs: 1_700_000_000_123.5, sentAtMs: 1_700_000_000_000.25, sender: 'router-1', traceparent: '00-x' };
    for (const codec of isRpc(contract) ? [contract.question, contract.answer] : [contract.message]) {
      const read = codec.decode(codec.encode({ meta } as never)) as { meta?: unknown };
      expect(read.meta).toEqual(meta);
    }
  });
});

describe('commands', () => {
  /** Carried out by whoever owns the thing, who puts its own epoch on what follows; or named by an id that is used once. */
  const withoutEpoch: Record<string, string> = {
    MoveCommand: 'a wish: the coordinator plans under its epoch',
    DrainCommand: 'a wish: the coordinator plans under its epoch',
    UndrainCommand: 'a wish: the coordinator acts under its epoch',
    ScaleCommand: 'a wish: the owner of the pool plans under its epoch',
    ScalingModeCommand: 'a setting: the owner of the pool keeps it',
    VoteCommand: 'bound to the hash of what the voter saw',
    CordonCommand: 'a setting: the publishing tracker keeps it',
    DropReservationCommand: 'a reservation id is used once',
  };
  const commands = [...messages.keys()].filter((name) => name.endsWith('Command') || name === 'RouteRequest');

  test.each(commands)('%s carries an epoch, or a reason why not', (name) => {
    const hasEpoch = [...messages.get(name)!.keys()].some((field) => field === 'epoch' || field.endsWith('_epoch'));
    expect(hasEpoch || withoutEpoch[name] !== undefined).toBe(true);
    expect(hasEpoch && withoutEpoch[name] !== undefined, 'listed for nothing').toBe(false);
  });

  test.each(['Assignment', 'OpenStream', 'CancelStream', 'StreamEvent', 'MigrationPlan', 'ScalePlan', 'QueueOwnerChanged', 'FleetView', 'Booking'])(
    '%s carries an epoch',
    (name) => {
      expect([...messages.get(name)!.keys()].some((field) => field === 'epoch' || field.endsWith('_epoch'))).toBe(true);
    },
  );

  test('every reason is needed', () => {
    expect(Object.keys(withoutEpoch).filter((name) => !messages.has(name))).toEqual([]);
  });
});

describe('subjects', () => {
  test('are versioned, of plain tokens, and told apart by any listener', () => {
    const patterns = all.map(([, { pattern }]) => pattern);
    for (const pattern of patterns) expect(pattern).toMatch(/^sy\.v1(\.([a-z_]+|\*))+$/);
    for (const [index, pattern] of patterns.entries()) {
      const clashes = patterns.filter((other, at) => at !== index && matches(pattern, other.replaceAll('*', 'key')));
      expect(clashes, pattern).toEqual([]);
    }
  });

  test('each stream of recorded messages has its own subjects and a bound', () => {
    const { recordedTopics } = contracts;
    expect(new Set(recordedTopics.map(({ stream }) => stream)).size).toBe(recordedTopics.length);
    for (const { maxAgeMs, maxMessages } of recordedTopics) expect(Math.min(maxAgeMs, maxMessages)).toBeGreaterThan(0);
  });
});

test('64-bit integers are not used: they decode to something that is no number', () => {
  const wide = [...messages].flatMap(([name, fields]) => [...fields].filter(([, type]) => /64$/.test(type)).map(([field]) => `${name}.${field}`));
  expect(wide).toEqual([]);
});

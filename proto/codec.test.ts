import { describe, expect, test } from 'vitest';
import { ReserveCommand, ScaleCommand } from './gen/messages.ts';

describe('decoding', () => {
  const command = {
    instanceId: 'chat-1',
    reservationId: 'r',
    requestId: 'q',
    epoch: 1,
    blocks: 1,
    ttlMs: 5_000,
    purpose: 'migration' as const,
    sourceInstanceId: '',
  };

  test('gives back what was encoded, from any kind of bytes', () => {
    const bytes = ReserveCommand.encode(command);
    expect(ReserveCommand.decode(Buffer.from(bytes))).toMatchObject(command);
    expect(ReserveCommand.decode(Uint8Array.from(bytes))).toMatchObject(command);
  });

  test.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])('refuses %s', (ttlMs) => {
    const bytes = ReserveCommand.encode({ ...command, ttlMs });
    expect(() => ReserveCommand.decode(Buffer.from(bytes))).toThrow('a number is');
    expect(() => ReserveCommand.decode(Uint8Array.from(bytes))).toThrow('a number is');
  });

  test('takes an empty message for one with every default', () => {
    expect(ScaleCommand.decode(new Uint8Array())).toMatchObject({ pool: '', meta: null });
  });
});

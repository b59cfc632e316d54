import { describe, expect, test } from 'vitest';
import { type ZmqMessage, ZmtpReader, zmtpGreeting, zmtpMessage, zmtpReady, zmtpSubscription } from './zmtp.ts';

const reader = () => new ZmtpReader({ maxMessageBytes: 100_000 });
const texts = (messages: readonly ZmqMessage[]) => messages.map((frames) => frames.map((frame) => Buffer.from(frame).toString()));
const bytes = (...parts: Uint8Array[]) => Buffer.concat(parts);

describe('ZMTP', () => {
  test('a greeting, a command and messages are read however they are cut', () => {
    const large = Buffer.alloc(7_000, 'x');
    const said = bytes(
      zmtpGreeting(),
      zmtpReady('DEALER'),
      zmtpMessage([Buffer.from('topic'), Buffer.from('1'), large]),
      zmtpMessage([Buffer.from('two')]),
    );
    for (const size of [63, 64, 1000, said.length]) {
      const read = reader();
      const messages: ZmqMessage[] = [];
      for (let at = 0; at < said.length; at += size) messages.push(...read.push(said.subarray(at, at + size)));
      expect(read.ready).toBe(true);
      expect(texts(messages)).toEqual([['topic', '1', large.toString()], ['two']]);
    }
  });

  test('what we say first and second is as the protocol has it', () => {
    expect(Buffer.from(zmtpGreeting()).toString('hex')).toBe(`ff00000000000000007f0300${Buffer.from('NULL').toString('hex')}${'00'.repeat(48)}`);
    expect(Buffer.from(zmtpReady('SUB')).toString('latin1')).toBe('\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x03SUB');
    expect([...zmtpSubscription('k')]).toEqual([0, 2, 1, 0x6b]);
  });

  test('a peer that speaks something else, another mechanism or an older version is told apart', () => {
    expect(() => reader().push(Buffer.from('HTTP/1.1 200 OK'))).toThrow('does not speak ZMTP');
    const curve = Buffer.from(zmtpGreeting());
    curve.write('CURVE', 12);
    expect(() => reader().push(curve)).toThrow('CURVE');
    const old = Buffer.from(zmtpGreeting());
    old[10] = 2;
    expect(() => reader().push(old)).toThrow('version 2');
  });

  test('a message that is too large is refused before it is kept, in one frame or in many', () => {
    const small = () => new ZmtpReader({ maxMessageBytes: 10 });
    expect(() => small().push(bytes(zmtpGreeting(), zmtpMessage([Buffer.alloc(11)]).subarray(0, 2)))).toThrow('11 bytes');
    expect(() => small().push(bytes(zmtpGreeting(), zmtpMessage([Buffer.alloc(6), Buffer.alloc(6)])))).toThrow('more than 10');
  });

  test('an error of the peer is one', () => {
    expect(() => reader().push(bytes(zmtpGreeting(), Buffer.from('\x04\x0b\x05ERROR\x04nope!', 'latin1').subarray(0, 13)))).toThrow('refuses');
  });
});

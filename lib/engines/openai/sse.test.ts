import fc from 'fast-check';
import { expect, test } from 'vitest';
import { SseParser } from './sse.ts';

function read(pieces: readonly Uint8Array[]) {
  const parser = new SseParser();
  const events = pieces.flatMap((piece) => parser.push(piece));
  return { data: events.map(({ bytes, dataStart, dataEnd }) => bytes.toString('utf8', dataStart, dataEnd)), events, rest: parser.rest.toString() };
}

test('events, comments and what is not whole yet', () => {
  const { data, events, rest } = read([Buffer.from('data: {"a":1}\n\n: ping\n\nevent: x\ndata:{"b":"é"}\r\nid: 7\r\n\r\n\n\ndata: {"c')]);
  expect(data).toEqual(['{"a":1}', '', '{"b":"é"}']);
  expect(events.map(({ bytes }) => bytes.toString())).toEqual(['data: {"a":1}\n\n', ': ping\n\n', 'event: x\ndata:{"b":"é"}\r\nid: 7\r\n\r\n']);
  expect(rest).toBe('data: {"c');
});

test('data of several lines is one', () => {
  expect(read([Buffer.from('data: {"a":\ndata: 1}\n\n')]).data).toEqual(['{"a": 1}']);
});

test('wherever the bytes are cut, the events are the same', () => {
  const text = 'data: {"a":"🌊"}\r\n\r\n: ping\n\ndata: x\r\n\r\ndata: {"b":\ndata: 2}\n\ndata: [DONE]\n\n';
  const whole = read([Buffer.from(text)]);
  fc.assert(
    fc.property(fc.array(fc.nat(Buffer.byteLength(text)), { maxLength: 40 }), (cuts) => {
      const bytes = Buffer.from(text);
      const places = [0, ...cuts.toSorted((a, b) => a - b), bytes.length];
      const pieces = places.slice(1).map((end, index) => bytes.subarray(places[index], end));
      const cut = read(pieces);
      expect([cut.data, cut.rest, cut.events.map(({ bytes }) => bytes.toString())]).toEqual([
        whole.data,
        '',
        whole.events.map(({ bytes }) => bytes.toString()),
      ]);
    }),
  );
});

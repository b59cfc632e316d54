import { describe, expect, test } from 'vitest';
import { SequenceState } from '../../../proto/gen/messages.ts';
import type { EngineEvent } from '../../ports/engines.ts';
import {
  encodeState,
  type Generation,
  generationOf,
  type NewGeneration,
  type SequenceFacts,
  speak,
  speakAgain,
  speakEnd,
  statusOf,
} from './generation.ts';
import { readRequest } from './request.ts';

const usual = { temperature: 0, topK: 0, topP: 1, minP: 0 };
/** Words, then the two bytes of é. */
const words = ['one', ' two', ' three', ' STOP', ' now', 'S', 'TO'];
const tokens = [...words.map((word) => Buffer.from(word)), Buffer.of(0xc3), Buffer.of(0xa9)];
let end = 0;
const vocabulary = { bytes: Buffer.concat(tokens), ends: Uint32Array.from(tokens, (bytes) => (end += bytes.length)) };
const [first, second] = [7, 8];

function generation(fields: object = {}, more: Partial<NewGeneration> = {}, clientStreams = true): Generation {
  const body = Buffer.from(JSON.stringify({ messages: [{ role: 'user', content: 'Count' }], ...fields }));
  const request = readRequest('r', 'chat', body, { vocabularySize: tokens.length, chatTemplate: '{{ tools }}', usual });
  if ('code' in request) throw new Error(request.message);
  const facts: SequenceFacts = {
    ...{
      requestId: 'r',
      model: 'm',
      endpoint: 'chat',
      body,
      maxOutputTokens: 0,
      priority: 0,
      arrivalMs: 1,
      createdS: 2,
      clientStreams,
      includeUsage: false,
    },
    ...{ gatewayId: 'g', traceparent: '', endReason: 'length' as const, serviceTier: '' },
  };
  const made = generationOf({
    ...{ id: 1, epoch: 1, facts, request, fingerprint: 'f', vocabulary, outputIds: [], shown: undefined, fromIndex: 0, held: false },
    ...more,
  });
  made.promptIds = [0, 1];
  made.maxOutputTokens = 10;
  return made;
}

/** The text that a client makes of events. */
function contentOf(...events: EngineEvent[]): string {
  return events
    .flatMap(({ data }) => Buffer.from(data).toString().split('\n\n'))
    .filter((part) => part !== '')
    .map((part) => JSON.parse(part.slice('data: '.length)).choices[0]?.delta?.content ?? '')
    .join('');
}

test('tokens become chunks, the first with a role, the last with the reason of the end', () => {
  const answer = generation();
  answer.maxOutputTokens = 3;
  const events = [0, 1, 2].map((id) => speak(answer, id));
  expect(events.map(({ index, text, finishReason }) => [index, text, finishReason])).toEqual([
    [0, 'one', ''],
    [1, ' two', ''],
    [2, ' three', 'length'],
  ]);
  expect(contentOf(...events)).toBe('one two three');
  expect(
    Buffer.from(events[0]!.data)
      .toString()
      .match(/"role"/g),
  ).toHaveLength(1);
  expect(events[2]!.usage).toEqual({ promptTokens: 2, outputTokens: 3, cachedTokens: 0 });
});

test('a character is shown when its last byte is there; an end before it shows nothing of it', () => {
  const answer = generation();
  expect([first, second].map((id) => speak(answer, id!).text)).toEqual(['', 'é']);
  const cut = generation();
  speak(cut, first!);
  expect([speakEnd(cut).text, cut.text]).toEqual(['', '']);
});

test('what may become a stop string is held back, and shown when it does not', () => {
  const answer = generation({ stop: ['STOP'] });
  expect([0, 5, 6, 1].map((id) => speak(answer, id).text)).toEqual(['one', '', '', 'STO two']);
  const stopped = generation({ stop: ['STOP'] });
  speak(stopped, 0);
  expect(speak(stopped, 3)).toMatchObject({ text: ' ', finishReason: 'stop', tokenIds: [3] });
});

test('a token that ends the answer counts for nothing, and what was held back is shown', () => {
  const answer = generation({ stop: ['STOP'] });
  speak(answer, 5);
  expect(speakEnd(answer)).toMatchObject({ index: 1, tokenIds: [], text: 'S', finishReason: 'stop', usage: { outputTokens: 1 } });
  const empty = speakEnd(generation());
  expect(Buffer.from(empty.data).toString()).toContain('"role"');
});

test('a whole answer is one body', () => {
  const answer = generation({}, {}, false);
  answer.maxOutputTokens = 2;
  expect(speak(answer, 0).data).toHaveLength(0);
  const { finalBody } = speak(answer, 1);
  expect(JSON.parse(Buffer.from(finalBody).toString()).choices[0].message).toEqual({ role: 'assistant', content: 'one two', refusal: null });
});

describe('an answer that goes on here', () => {
  test('shows what its client has not got, whatever the cut', () => {
    const ids = [0, 7, 8, 5, 6, 1, 2];
    const whole = generation({ stop: ['STOP'] });
    const text = contentOf(...ids.map((id) => speak(whole, id)));
    for (let cut = 0; cut <= ids.length; cut++) {
      const before = generation({ stop: ['STOP'] });
      const said = ids.slice(0, cut).map((id) => speak(before, id));
      const shown = said.map((event) => event.text).join('').length;
      const after = generation({ stop: ['STOP'] }, { outputIds: ids.slice(0, cut), shown, fromIndex: cut });
      expect(contentOf(...said, ...ids.slice(cut).map((id) => speak(after, id)))).toBe(text);
    }
  });

  test('says again what the gateway lacks of it', () => {
    const moved = generation({}, { outputIds: [0, 1, 2], fromIndex: 1 });
    expect(speakAgain(moved, 1, '')).toMatchObject({ index: 1, tokenIds: [1, 2], text: ' two three' });
    expect(speak(moved, 4)).toMatchObject({ index: 3, text: ' now' });
  });

  test('that was complete says its end', () => {
    const complete = generation({}, { outputIds: [0, 1], shown: 7, fromIndex: 2 });
    expect(speakAgain(complete, 2, 'length')).toMatchObject({ tokenIds: [], text: '', finishReason: 'length' });
  });
});

test('its state is all that another engine needs besides the KV', () => {
  const answer = generation();
  speak(answer, 0);
  const state = SequenceState.decode(encodeState(answer, Buffer.from('envelope')));
  expect(state).toMatchObject({
    requestId: 'r',
    promptTokenIds: [0, 1],
    outputTokenIds: [0],
    outputText: 'one',
    maxOutputTokens: 10,
    promptTokens: 2,
  });
  expect(Buffer.from(state.engineState).toString()).toBe('envelope');
});

test('its status says where it stands', () => {
  const answer = generation();
  expect(statusOf(answer)).toMatchObject({ state: 'waiting', blocks: 0 });
  answer.phase = 'running';
  expect(statusOf(answer)).toMatchObject({ state: 'prefill', blocks: 1, promptTokens: 2 });
  speak(answer, 0);
  expect(statusOf(answer)).toMatchObject({ state: 'decode', outputTokens: 1 });
  answer.paused = true;
  expect(statusOf(answer).state).toBe('paused');
});

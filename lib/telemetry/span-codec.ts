// One ended span as bytes, and back. Strings are written unit by unit: most are shorter than a call into V8 costs.
import type { Attributes, AttributeValue } from '../ports/telemetry.ts';
import { requestIdName } from './attributes.ts';
import type { SpanEvent, SpanFacts } from './recorded-span.ts';
import { TracePlace } from './trace-place.ts';

/** Names of spans, attributes and events are numbers here. There are few; any beyond so many are written as text. */
const maxNames = 4096;
const textName = 0xffff;
const largeCount = 0xff;
const kinds: readonly SpanFacts['kind'][] = ['internal', 'server', 'client', 'producer', 'consumer'];
const tags = { text: 0, number: 1, true: 2, false: 3 } as const;

export class SpanCodec {
  readonly #names: string[] = [];
  readonly #numbers = new Map<string, number>();
  #bytes = Buffer.alloc(4096);
  #view = viewOf(this.#bytes);
  #at = 0;
  #requestId = '';

  /** The bytes, until the next call, and the request that the span says it is about, or ''. */
  write(span: SpanFacts): { bytes: Buffer; length: number; requestId: string } {
    this.#at = 0;
    this.#requestId = '';
    this.#place(span.context);
    this.#flag(span.parent !== undefined);
    if (span.parent) this.#place(span.parent);
    this.#name(span.name);
    this.#count(kinds.indexOf(span.kind));
    this.#number(span.startMs);
    this.#number(span.endMs);
    this.#flag(span.failed);
    this.#flag(span.failure !== undefined);
    if (span.failure !== undefined) this.#text(span.failure);
    this.#count(span.droppedEvents);
    this.#count(span.links.length);
    for (const link of span.links) this.#place(link);
    this.#count(span.given.length);
    for (const attributes of span.given) this.#attributes(attributes);
    this.#count(span.events.length);
    for (const { name, atMs, attributes } of span.events) {
      this.#name(name);
      this.#number(atMs);
      this.#attributes(attributes ?? {});
    }
    return { bytes: this.#bytes, length: this.#at, requestId: this.#requestId };
  }

  read(bytes: Buffer, from: number): SpanFacts {
    return readSpan(new Reader(bytes, from, this.#names));
  }

  #room(count: number): void {
    if (this.#at + count <= this.#bytes.length) return;
    const larger = Buffer.alloc(2 * (this.#at + count));
    larger.set(this.#bytes.subarray(0, this.#at));
    this.#bytes = larger;
    this.#view = viewOf(larger);
  }

  #flag(value: boolean): void {
    this.#room(1);
    this.#bytes[this.#at++] = value ? 1 : 0;
  }

  /** One byte for most, five for large ones. */
  #count(value: number): void {
    this.#room(5);
    if (value < largeCount) {
      this.#bytes[this.#at++] = value;
      return;
    }
    this.#bytes[this.#at] = largeCount;
    this.#view.setUint32(this.#at + 1, value);
    this.#at += 5;
  }

  #number(value: number): void {
    this.#room(8);
    this.#view.setFloat64(this.#at, value);
    this.#at += 8;
  }

  /** Its length, the width of its units, and they. */
  #text(text: string): void {
    const { length } = text;
    this.#room(6 + 2 * length);
    this.#count(length);
    const widthAt = this.#at;
    const start = widthAt + 1;
    const bytes = this.#bytes;
    bytes[widthAt] = 1;
    for (let index = 0; index < length; index++) {
      const unit = text.charCodeAt(index);
      if (unit > 0xff) {
        this.#wide(text, widthAt);
        return;
      }
      bytes[start + index] = unit;
    }
    this.#at = start + length;
  }

  #wide(text: string, widthAt: number): void {
    this.#bytes[widthAt] = 2;
    this.#at = widthAt + 1 + this.#bytes.write(text, widthAt + 1, 'utf16le');
  }

  #name(name: string): void {
    this.#room(2);
    let number = this.#numbers.get(name);
    if (number === undefined && this.#names.length < maxNames) {
      number = this.#names.push(name) - 1;
      this.#numbers.set(name, number);
    }
    this.#view.setUint16(this.#at, number ?? textName);
    this.#at += 2;
    if (number === undefined) this.#text(name);
  }

  #place({ traceId, spanId, sampled, remote }: TracePlace): void {
    this.#text(traceId);
    this.#text(spanId);
    this.#flag(sampled);
    this.#flag(remote);
  }

  /** Those that have a value, each after a 1; then a 0. */
  #attributes(attributes: Attributes): void {
    for (const name in attributes) {
      const value = attributes[name];
      if (value === undefined) continue;
      this.#flag(true);
      this.#name(name);
      this.#value(value);
      if (name === requestIdName && typeof value === 'string') this.#requestId = value;
    }
    this.#flag(false);
  }

  #value(value: AttributeValue): void {
    this.#room(1);
    if (typeof value === 'string') {
      this.#bytes[this.#at++] = tags.text;
      this.#text(value);
    } else if (typeof value === 'number') {
      this.#bytes[this.#at++] = tags.number;
      this.#number(value);
    } else this.#bytes[this.#at++] = value ? tags.true : tags.false;
  }
}

class Reader {
  readonly #bytes: Buffer;
  readonly #names: readonly string[];
  #at: number;

  constructor(bytes: Buffer, from: number, names: readonly string[]) {
    this.#bytes = bytes;
    this.#at = from;
    this.#names = names;
  }

  byte(): number {
    return this.#bytes[this.#at++]!;
  }

  flag(): boolean {
    return this.byte() === 1;
  }

  count(): number {
    const small = this.byte();
    if (small < largeCount) return small;
    this.#at += 4;
    return this.#bytes.readUInt32BE(this.#at - 4);
  }

  number(): number {
    this.#at += 8;
    return this.#bytes.readDoubleBE(this.#at - 8);
  }

  text(): string {
    const units = this.count();
    const width = this.byte();
    const start = this.#at;
    this.#at += units * width;
    return this.#bytes.toString(width === 1 ? 'latin1' : 'utf16le', start, this.#at);
  }

  name(): string {
    this.#at += 2;
    const number = this.#bytes.readUInt16BE(this.#at - 2);
    return number === textName ? this.text() : this.#names[number]!;
  }

  place(): TracePlace {
    return new TracePlace(this.text(), this.text(), this.flag(), this.flag());
  }

  attributes(into: Record<string, AttributeValue> = {}): Record<string, AttributeValue> {
    while (this.flag()) into[this.name()] = this.#value();
    return into;
  }

  #value(): AttributeValue {
    const tag = this.byte();
    if (tag === tags.text) return this.text();
    return tag === tags.number ? this.number() : tag === tags.true;
  }

  times<T>(read: () => T): T[] {
    return Array.from({ length: this.count() }, read);
  }
}

/** In the order in which `write` writes. */
function readSpan(from: Reader): SpanFacts {
  const context = from.place();
  const parent = from.flag() ? from.place() : undefined;
  const name = from.name();
  const kind = kinds[from.count()]!;
  const startMs = from.number();
  const endMs = from.number();
  const failed = from.flag();
  const failure = from.flag() ? from.text() : undefined;
  const droppedEvents = from.count();
  const links = from.times(() => from.place());
  const attributes: Record<string, AttributeValue> = {};
  from.times(() => from.attributes(attributes));
  const events = from.times((): SpanEvent => ({ name: from.name(), atMs: from.number(), attributes: from.attributes() }));
  return { context, parent, name, kind, startMs, endMs, failed, failure, droppedEvents, links, given: [attributes], attributes, events };
}

function viewOf({ buffer, byteOffset, byteLength }: Buffer): DataView {
  return new DataView(buffer, byteOffset, byteLength);
}

// The model of scripted servers: the next token is a function of all tokens before it, so that a continuation from tokens can
// be told from one that is not exact. Some tokens are half a character.
import { tokenize } from '../../../core/engine/token-function.ts';

const words = ' sea wave salt wind ship sand rock gull tide foam deep blue cold reef sail star moon rain fish crab shell port dawn mist'.match(
  / \w+/g,
)!;
/** The halves of a wave in UTF-8. */
const halves = [Buffer.from([0xf0, 0x9f]), Buffer.from([0x8c, 0x8a])];
const firstHalf = words.length;
const vocabulary: readonly Buffer[] = [...words.map((word) => Buffer.from(word)), ...halves];

export class ToyModel {
  /** With halves of characters among its tokens. */
  readonly #halves: boolean;

  constructor(options: { halves?: boolean } = {}) {
    this.#halves = options.halves ?? false;
  }

  next(ids: readonly number[]): number {
    if (ids.at(-1) === firstHalf) return firstHalf + 1;
    let hash = 0x811c9dc5;
    for (const id of ids) hash = Math.imul(hash ^ (id + 1), 0x01000193);
    const choice = (hash >>> 0) % (words.length + (this.#halves ? 8 : 0));
    return Math.min(choice, firstHalf);
  }

  bytes(id: number): Buffer {
    return vocabulary[id] ?? Buffer.alloc(0);
  }

  tokens(text: string): number[] {
    return tokenize(text);
  }

  /** Of a prompt, from its ids. */
  expected(promptIds: readonly number[], count: number): { ids: number[]; text: string } {
    const all = [...promptIds];
    for (let made = 0; made < count; made++) all.push(this.next(all));
    const ids = all.slice(promptIds.length);
    return { ids, text: Buffer.concat(ids.map((id) => this.bytes(id))).toString() };
  }
}

/** Text as it may be shown: whole characters only. */
export class WholeText {
  #bytes = Buffer.alloc(0);

  push(bytes: Uint8Array): string {
    this.#bytes = Buffer.concat([this.#bytes, bytes]);
    const text = this.#bytes.toString();
    if (text.endsWith('\ufffd')) return '';
    this.#bytes = Buffer.alloc(0);
    return text;
  }
}

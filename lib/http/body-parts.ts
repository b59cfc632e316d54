// A body that comes in parts, put together as they come. node makes each part of a plain connection a memory of its own, and V8
// looks through its whole heap once some 64 MB of such memory have been made: parts are given back as soon as they are copied.

/** Memory for so many bytes is made at once for whoever announces as many; for more only as they come. */
const trustedBytes = 262_144;

export class BodyParts {
  readonly #announced: number;
  #whole: Uint8Array = none;
  #size = 0;

  /** @param announced bytes that are said to come; 0: not said */
  constructor(announced: number) {
    this.#announced = announced;
  }

  get size(): number {
    return this.#size;
  }

  /** `part` is nobody else's: it may be gone afterwards. */
  add(part: Uint8Array): void {
    const size = this.#size + part.length;
    if (this.#size === 0) this.#whole = part;
    else {
      if (size > this.#whole.length) this.#grow(size);
      this.#whole.set(part, this.#size);
      giveBack(part);
    }
    this.#size = size;
  }

  whole(): Uint8Array {
    return this.#whole.length === this.#size ? this.#whole : this.#whole.subarray(0, this.#size);
  }

  #grow(atLeast: number): void {
    const before = this.#whole;
    const roomy = Math.max(trustedBytes, 2 * before.length);
    this.#whole = Buffer.allocUnsafeSlow(Math.max(atLeast, this.#announced > 0 ? Math.min(this.#announced, roomy) : roomy));
    this.#whole.set(before.subarray(0, this.#size));
    giveBack(before);
  }
}

const none = new Uint8Array(0);

/** Gives the memory of `bytes` back at once, where they have one of their own: they are empty from then on. */
export function giveBack({ buffer, byteLength }: Uint8Array): void {
  if (buffer instanceof ArrayBuffer && buffer.byteLength === byteLength) buffer.transfer(0);
}

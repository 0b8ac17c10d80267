/** A growing buffer for netlink messages. Everything is little-endian or as told; lengths are patched in afterwards. */
export class MessageWriter {
  bytes: Uint8Array;
  view: DataView;
  /** Where the next octet goes. From here on all octets are zero. */
  #position = 0;

  constructor(capacity = 4096) {
    this.bytes = new Uint8Array(capacity);
    this.view = new DataView(this.bytes.buffer);
  }

  get position(): number {
    return this.#position;
  }

  /** Makes room for `count` octets, set to zero, and returns where they start. */
  reserve(count: number): number {
    const start = this.#position;
    const end = start + count;
    if (end > this.bytes.length) this.#grow(end);
    this.#position = end;
    return start;
  }

  /** Pads to a multiple of four octets (NLMSG_ALIGNTO, NLA_ALIGNTO). */
  align(): void {
    const rest = this.#position & 3;
    if (rest !== 0) this.reserve(4 - rest);
  }

  /** Starts an attribute; {@link endAttribute} writes its length. */
  beginAttribute(code: number): number {
    const start = this.reserve(4);
    this.view.setUint16(start + 2, code, true);
    return start;
  }

  endAttribute(start: number): void {
    this.view.setUint16(start, this.#position - start, true);
    this.align();
  }

  /** What was written so far; valid until the next write. */
  written(): Uint8Array {
    return this.bytes.subarray(0, this.#position);
  }

  /** Forgets what was written from `position` on. */
  truncate(position: number): void {
    this.bytes.fill(0, position, this.#position);
    this.#position = position;
  }

  reset(): void {
    this.truncate(0);
  }

  #grow(atLeast: number): void {
    const larger = new Uint8Array(Math.max(atLeast, this.bytes.length * 2));
    larger.set(this.bytes.subarray(0, this.#position));
    this.bytes = larger;
    this.view = new DataView(larger.buffer);
  }
}

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ManualClock } from "../../base/clock.ts";
import { seconds } from "../../base/duration.ts";
import { octetsOf, textOf } from "../../wire/text.ts";
import { type Segment, TcpConnection } from "./tcp-connection.ts";

/** Both ends count past 2^32 soon. */
const initial = 2 ** 32 - 3;
const peerInitial = 2 ** 32 - 2;
const segmentSize = 100;

/** A client that counts itself; what the server sends is written as `SYN ACK 0..1 @1`: flags, its octets from the SYN on, what it acknowledges. */
class Client {
  readonly clock = new ManualClock();
  readonly sent: Segment[] = [];
  isEnded = false;
  window = 65_535;
  readonly connection: TcpConnection;

  constructor(response = "all of it", options: Segment["header"]["options"] = []) {
    this.connection = new TcpConnection(this.#segment(0, { syn: true, options }), {
      ...{ clock: this.clock, initialSequence: initial, segmentSize, longestRequest: 20 },
      respond: (request) =>
        textOf(request).includes("\n") || request.length === 20 ? octetsOf(response, "") : undefined,
      send: (segment) => this.sent.push(segment),
      onEnd: () => {
        this.isEnded = true;
      },
    });
  }

  /** `at`: octets since its SYN. */
  says(at: number, flags: Partial<Segment["header"]>, data = ""): string[] {
    this.connection.receive(this.#segment(at, flags, data));
    return this.heard();
  }

  /** Acknowledges up to there. */
  acknowledges(upTo: number, at: number, flags: Partial<Segment["header"]> = {}, data = ""): string[] {
    return this.says(at, { ack: true, acknowledgment: (initial + upTo) >>> 0, ...flags }, data);
  }

  waits(time: number): string[] {
    this.clock.advance(seconds(time));
    return this.heard();
  }

  heard(): string[] {
    return this.sent.splice(0).map(({ header, data }) => {
      const flags = (["syn", "fin", "rst", "ack"] as const)
        .filter((flag) => header[flag])
        .map((flag) => flag.toUpperCase());
      const from = (header.sequence - initial) >>> 0;
      const to = from + data.length + (header.syn ? 1 : 0) + (header.fin ? 1 : 0);
      return `${flags.join(" ")} ${from}..${to} @${(header.acknowledgment - peerInitial) >>> 0}`;
    });
  }

  #segment(at: number, flags: Partial<Segment["header"]>, data = ""): Segment {
    const sequence = (peerInitial + at) >>> 0;
    return {
      header: { sequence, acknowledgment: 0, window: this.window, options: [], ...flags },
      data: octetsOf(data, "data"),
    };
  }
}

/** One that has connected. */
function connected(...parameters: ConstructorParameters<typeof Client>): Client {
  const client = new Client(...parameters);
  assert.deepEqual(client.heard(), ["SYN ACK 0..1 @1"]);
  assert.deepEqual(client.acknowledges(1, 1), []);
  return client;
}

const size = (octets: number) => [{ type: "maximum-segment-size", size: octets }] as const;

describe("a connection", () => {
  it("carries a request and its response, and ends", () => {
    const client = connected();
    assert.deepEqual(client.acknowledges(1, 1, {}, "get\n"), ["FIN ACK 1..11 @5"]);
    assert.deepEqual(client.acknowledges(11, 5), []);
    assert.equal(client.isEnded, false);
    assert.deepEqual(client.acknowledges(11, 5, { fin: true }), ["ACK 11..11 @6"]);
    assert.equal(client.isEnded, true);
    assert.deepEqual(client.waits(60), []);
  });

  it("takes a request that comes in pieces, in their order alone", () => {
    const client = connected();
    assert.deepEqual(client.acknowledges(1, 1, {}, "ge"), ["ACK 1..1 @3"]);
    assert.deepEqual(client.acknowledges(1, 4, {}, "\n"), ["ACK 1..1 @3"]);
    assert.deepEqual(client.acknowledges(1, 1, {}, "ge"), ["ACK 1..1 @3"]);
    assert.deepEqual(client.acknowledges(1, 3, {}, "t\n"), ["FIN ACK 1..11 @5"]);
  });

  it("that the client has ended for its part gets its response all the same", () => {
    const client = connected();
    assert.deepEqual(client.acknowledges(1, 1, { fin: true }, "get\n"), ["FIN ACK 1..11 @6"]);
    client.acknowledges(11, 6);
    assert.equal(client.isEnded, true);
    const without = connected();
    assert.deepEqual(without.acknowledges(1, 1, { fin: true }, "ge"), ["FIN ACK 1..2 @4"]);
  });

  it("takes no more of a request than there is room for", () => {
    const client = connected();
    assert.deepEqual(client.acknowledges(1, 1, { fin: true }, "a".repeat(30)), ["FIN ACK 1..11 @21"]);
  });

  it("sends segments of the size that both take, and ten of them at once", () => {
    const large = connected("a".repeat(1_500), [...size(1_460)]);
    assert.deepEqual(
      large.acknowledges(1, 1, {}, "get\n"),
      Array.from({ length: 10 }, (_, index) => `ACK ${1 + 100 * index}..${101 + 100 * index} @5`),
    );
    assert.deepEqual(large.acknowledges(201, 5), ["ACK 1001..1101 @5", "ACK 1101..1201 @5"]);
    const small = connected("a".repeat(70), [...size(40)]);
    assert.deepEqual(small.acknowledges(1, 1, {}, "get\n"), ["ACK 1..41 @5", "FIN ACK 41..72 @5"]);
  });

  it("sends no more than the client has room for", () => {
    const client = connected();
    client.window = 4;
    assert.deepEqual(client.acknowledges(1, 1, {}, "get\n"), ["ACK 1..5 @5"]);
    client.window = 0;
    assert.deepEqual(client.acknowledges(5, 5), []);
    client.window = 5;
    assert.deepEqual(client.acknowledges(5, 5), ["ACK 5..10 @5"]);
    assert.deepEqual(client.acknowledges(10, 5), ["FIN ACK 10..11 @5"]);
  });

  it("sends again what was not acknowledged, after 1, 2 and 4 seconds; then it is given up", () => {
    const syn = new Client();
    const answer = "SYN ACK 0..1 @1";
    assert.deepEqual([syn.heard(), syn.waits(1), syn.waits(2), syn.waits(4)], Array(4).fill([answer]));
    assert.deepEqual(syn.waits(3), ["RST ACK 1..1 @1"]);
    assert.equal(syn.isEnded, true);
    assert.deepEqual(syn.waits(60), []);

    const client = connected("a".repeat(150));
    client.acknowledges(1, 1, {}, "get\n");
    assert.deepEqual(client.waits(1), ["ACK 1..101 @5", "FIN ACK 101..152 @5"]);
    assert.deepEqual(client.acknowledges(101, 5), []);
    assert.deepEqual(client.waits(1), ["FIN ACK 101..152 @5"]);
    // What arrived of the first attempt counts.
    assert.deepEqual(client.acknowledges(152, 5, { fin: true }), ["ACK 152..152 @6"]);
    assert.equal(client.isEnded, true);
  });

  it("that says only half of what it wants, or does not end, is given up after 10 seconds", () => {
    const half = connected();
    half.acknowledges(1, 1, {}, "ge");
    assert.deepEqual([half.waits(9.9), half.waits(0.1), half.isEnded], [[], ["RST ACK 1..1 @3"], true]);
    const open = connected();
    open.acknowledges(1, 1, {}, "get\n");
    open.acknowledges(11, 5);
    assert.deepEqual([open.waits(10), open.isEnded], [["RST ACK 11..11 @5"], true]);
  });

  it("is over when the client says so, in the place where that belongs", () => {
    const client = connected();
    assert.deepEqual([client.says(2, { rst: true }), client.isEnded], [[], false]);
    assert.deepEqual([client.says(1, { rst: true }), client.isEnded], [[], true]);
  });

  it("answers a SYN that comes again, and challenges one of another connection", () => {
    const client = new Client();
    client.heard();
    assert.deepEqual(client.says(0, { syn: true }), ["SYN ACK 0..1 @1"]);
    client.acknowledges(1, 1);
    assert.deepEqual(client.says(0, { syn: true }), ["ACK 1..1 @1"]);
    assert.deepEqual(client.says(7_000, { syn: true }), ["ACK 1..1 @1"]);
  });

  it("does not believe in octets that were never sent", () => {
    const client = new Client();
    client.heard();
    assert.deepEqual([client.acknowledges(9, 1), client.isEnded], [["RST ACK 1..1 @1"], true]);
    const later = connected();
    assert.deepEqual([later.acknowledges(9, 1), later.isEnded], [["ACK 1..1 @1"], false]);
  });

  it("of whatever a client sends never throws, nor sends without end", () => {
    const random = (below: number): number => Math.floor(Math.random() * below);
    for (let run = 0; run < 300; run++) {
      const client = new Client("a".repeat(random(3_000)));
      for (let step = 0; step < 30 && !client.isEnded; step++) {
        client.window = random(2) * random(5_000);
        const flags = { syn: random(9) === 0, fin: random(5) === 0, rst: random(30) === 0, ack: random(5) > 0 };
        const acknowledgment = (initial + random(2) * random(3_100) + 1) >>> 0;
        const answers = client.says(random(25), { ...flags, acknowledgment }, "a\n".repeat(random(12)));
        assert.ok(answers.length <= 11, answers.join());
        client.waits(random(2));
      }
      client.waits(20);
      assert.equal(client.isEnded, true);
      assert.deepEqual(client.waits(60), []);
    }
  });
});

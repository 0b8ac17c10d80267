import assert from "node:assert/strict";
import { beforeEach, describe, it } from "node:test";
import { milliseconds, seconds } from "../../base/duration.ts";
import { type IpAddress, ip } from "../../base/ip.ts";
import { type MacAddress, mac } from "../../base/mac.ts";
import type { Effect, KnownEndpoint, Outcome, Port } from "./effects.ts";
import { NetworkLearning } from "./network-learning.ts";

const m = (number: number): MacAddress => mac(`02:00:00:00:00:${number.toString(16).padStart(2, "0")}`);
const i = (number: number): IpAddress => ip(`10.0.0.${number}`);
const port = (number: number, learnedIps: readonly IpAddress[] = []): Port => ({
  mac: m(0xd0 + number),
  ips: [i(200 + number)],
  learnedIps,
});
const twoPorts = (): Map<string, Port> => new Map([1, 2].map((number) => [`p${number}`, port(number)]));

let learning: NetworkLearning;
let now: number;
let revision: number;
let ids: number;

beforeEach(() => {
  now = 1_000;
  revision = 1;
  ids = 0;
  learning = new NetworkLearning({
    network: "blue",
    limit: 2,
    ageing: seconds(300),
    newId: () => `e${++ids}`,
    declaredElsewhere: (address) => (address === m(0xee) ? "endpoint e0 on h2" : undefined),
  });
  learning.setPorts(twoPorts(), now);
});

/** One effect as a line of text. */
function text(effect: Effect): string {
  switch (effect.kind) {
    case "send": {
      const publish = effect.publish.map(({ id, mac, ips }) => `${id} ${mac.slice(-2)} ${ips.join(",")}`.trim());
      return [...effect.withdraw.map((id) => `withdraw ${id}`), ...publish.map((line) => `publish ${line}`)].join("; ");
    }
    case "check":
      return `check ${effect.mac.slice(-2)}`;
    case "report":
      return `${effect.event.kind}: ${effect.event.message}`;
    default:
      return `${effect.kind} ${effect.port}`;
  }
}

const lines = (effects: readonly Effect[]): string[] => effects.map(text);
const commands = (effects: readonly Effect[]): string[] => lines(effects.filter(({ kind }) => kind !== "report"));

/** Lets time pass, and says what is done meanwhile. */
function pass(milliseconds: number): string[] {
  const end = now + milliseconds;
  const done: string[] = [];
  for (let due = learning.due; due !== undefined && due <= end; due = learning.due) {
    now = Math.max(now, due);
    done.push(...lines(learning.tick(now)));
  }
  now = end;
  return done;
}

/** The server takes all that was sent, `effects` as text, and its state follows. */
function accept(...outcomes: Partial<Outcome>[]): string[] {
  revision++;
  return lines(
    learning.answered(
      outcomes.map((outcome) => ({ reason: "", retryAfter: milliseconds(0), ...outcome })),
      revision,
      now,
    ),
  );
}

function endpoint(id: string, ...ips: number[]): Partial<Outcome> {
  return { endpoint: { id, ips: ips.map(i) } };
}

function known(id: string, number: number, ...ips: number[]): KnownEndpoint {
  return { id, mac: m(number), ips: ips.map(i) };
}

function synchronise(...endpoints: KnownEndpoint[]): string[] {
  return lines(learning.synchronise(endpoints, () => false, revision, now));
}

/** MAC `number` is published as `e1` with address `number`. */
function published(number = 1): void {
  learning.ipSeen("p1", m(number), i(number), now);
  pass(10);
  accept(endpoint(`e${number}`, number));
}

describe("what is found is published", () => {
  it("with what comes within 10 ms in one request, one request at a time", () => {
    learning.macSeen("p1", m(1), now);
    learning.ipSeen("p1", m(1), i(1), now);
    assert.deepEqual(pass(9), []);
    learning.ipSeen("p2", m(2), i(2), now);
    assert.deepEqual(pass(1), ["publish e1 01 10.0.0.1; publish e2 02 10.0.0.2"]);
    learning.ipSeen("p1", m(1), i(11), now);
    assert.deepEqual(pass(1_000), [], "the first request is under way");
    assert.deepEqual(accept(endpoint("e1", 1), endpoint("e2", 2)), [
      "learned: 10.0.0.1 behind the port of endpoint p1",
      "learned: 10.0.0.2 behind the port of endpoint p2",
    ]);
    assert.deepEqual(pass(10), ["publish e1 01 10.0.0.1,10.0.0.11"]);
    accept(endpoint("e1", 1, 11));
    assert.deepEqual(pass(1_000_000), []);
    assert.equal(learning.due, undefined);
  });

  it("whether the answer or the server's state comes first, and is told once", () => {
    learning.ipSeen("p1", m(1), i(1), now);
    pass(10);
    revision = 5;
    assert.deepEqual(synchronise(known("e1", 1, 1)), ["learned: 10.0.0.1 behind the port of endpoint p1"]);
    assert.deepEqual(accept(endpoint("e1", 1)), []);
    assert.deepEqual(pass(1_000), []);
  });

  it("again with growing pauses while the server cannot be asked, at once when it can", () => {
    learning.ipSeen("p1", m(1), i(1), now);
    const times: number[] = [];
    for (let attempt = 0; attempt < 7; attempt++) {
      const before = now;
      now = learning.due ?? assert.fail();
      assert.equal(learning.tick(now).length, 1);
      times.push(now - before);
      learning.failed(now);
    }
    assert.deepEqual(times, [10, 200, 400, 800, 1600, 3200, 5000]);
    learning.connected(now);
    assert.deepEqual(pass(10), ["publish e1 01 10.0.0.1"]);
  });

  it("but not what the server refuses: for a while, or until it is seen after a minute", () => {
    learning.ipSeen("p1", m(1), i(1), now);
    pass(10);
    assert.deepEqual(accept({ reason: "full", retryAfter: seconds(10) }), ["refused: full"]);
    assert.deepEqual(pass(9_999), []);
    assert.deepEqual(pass(1), ["publish e1 01 10.0.0.1"]);
    assert.deepEqual(accept({ reason: "no" }), ["refused: no"]);
    assert.deepEqual(pass(59_999), []);
    learning.ipSeen("p1", m(1), i(1), now);
    assert.deepEqual(pass(10), []);
    learning.ipSeen("p1", m(1), i(1), now);
    assert.deepEqual(pass(10), ["publish e1 01 10.0.0.1"]);
  });

  it("without the addresses that are another's", () => {
    learning.ipSeen("p1", m(1), i(1), now);
    learning.ipSeen("p1", m(1), i(202), now);
    pass(10);
    accept({ ...endpoint("e1", 1), reason: "10.0.0.202 is of endpoint p2" });
    learning.ipSeen("p1", m(1), i(202), now);
    assert.deepEqual(pass(1_000), []);
    learning.ipSeen("p1", m(1), i(3), now);
    assert.deepEqual(pass(10), ["publish e1 01 10.0.0.1,10.0.0.3"]);
  });

  it("but for group addresses, ports that nobody knows, and what is declared", () => {
    learning.macSeen("p1", mac("ff:ff:ff:ff:ff:ff"), now);
    learning.macSeen("p9", m(1), now);
    learning.macSeen("p1", m(0xd1), now);
    learning.ipSeen("p1", m(0xd1), i(201), now);
    assert.deepEqual(pass(1_000), []);
  });

  it("but for declared MACs behind other ports, at which nothing more is learned for a minute", () => {
    assert.deepEqual(lines(learning.macSeen("p2", m(0xd1), now)), [
      "refused: is used behind the port of endpoint p2, and endpoint p1 on this node was declared with it; nothing is learned there for 60 s",
      "deafen p2",
    ]);
    assert.deepEqual(learning.ipSeen("p2", m(0xd1), i(201), now), []);
    assert.deepEqual(learning.macSeen("p2", m(1), now), []);
    assert.deepEqual(pass(60_000), ["listen p2"]);
    assert.match(lines(learning.ipSeen("p2", m(0xee), i(1), now)).join(), /endpoint e0 on h2 was declared.*deafen p2/);
  });

  it("further addresses of a declared MAC with its endpoint, for as long as that is there", () => {
    learning.ipSeen("p1", m(0xd1), i(50), now);
    assert.deepEqual(pass(10), ["publish p1 d1 10.0.0.50"]);
    assert.deepEqual(accept(endpoint("p1", 201, 50)), ["learned: 10.0.0.50 behind the port of endpoint p1"]);
    learning.setPorts(new Map([...twoPorts(), ["p1", port(1, [i(50)])]]), now);
    assert.deepEqual(synchronise(), []);
    assert.deepEqual(lines(learning.macMissing("p1", m(0xd1))), []);
    assert.deepEqual(pass(1_000_000), []);
    assert.deepEqual(learning.setPorts(new Map(), now), []);
    assert.deepEqual(pass(1_000), []);
  });

  it("an address that another MAC here uses goes to that one", () => {
    published(1);
    learning.ipSeen("p2", m(2), i(1), now);
    assert.deepEqual(pass(10), ["publish e2 02 10.0.0.1"]);
    accept(endpoint("e2", 1));
    learning.ipSeen("p1", m(1), i(5), now);
    assert.deepEqual(pass(10), ["publish e1 01 10.0.0.5"]);
  });

  it("sixteen addresses of a MAC, those that were heard of last", () => {
    for (let number = 1; number <= 16; number++) learning.ipSeen("p1", m(1), i(number), now);
    assert.match(
      lines(learning.ipSeen("p1", m(1), i(17), now))[0] ?? "",
      /^limited: has more than 16 addresses; 10\.0\.0\.17/,
    );
    assert.deepEqual(learning.ipSeen("p1", m(1), i(18), now), [], "told once");
    pass(10);
    accept(endpoint("e1", ...Array.from({ length: 16 }, (_, index) => index + 1)));
    pass(300_000);
    for (let number = 2; number <= 16; number++) learning.ipSeen("p1", m(1), i(number), now);
    learning.ipSeen("p1", m(1), i(17), now);
    assert.match(pass(10)[0] ?? "", /^publish e1 01 10\.0\.0\.2,.*,10\.0\.0\.16,10\.0\.0\.17$/);
  });
});

describe("what is gone is withdrawn", () => {
  it("when the bridge forgot it and confirms that", () => {
    published();
    assert.deepEqual(lines(learning.macMissing("p2", m(1))), [], "it is at another port");
    assert.deepEqual(lines(learning.macMissing("p1", m(1))), ["check 01"]);
    assert.deepEqual(lines(learning.checked(m(1), "p1", now)), []);
    assert.deepEqual(lines(learning.checked(m(1), undefined, now)), [
      "withdrawn: 10.0.0.1: it was not heard of any more",
    ]);
    assert.deepEqual(pass(10), ["withdraw e1"]);
    learning.released(["e1"], 9);
    accept();
    assert.deepEqual(synchronise(known("e1", 1, 1)), [], "the server's state is from before");
    revision = 9;
    synchronise();
    assert.deepEqual(pass(1_000_000), []);
  });

  it("unless it comes back before the server was told", () => {
    published();
    learning.checked(m(1), undefined, now);
    learning.ipSeen("p2", m(1), i(1), now);
    assert.deepEqual(pass(10), ["publish e1 01 10.0.0.1"]);
  });

  it("before it is published anew when it comes back while the server is told", () => {
    published();
    learning.checked(m(1), undefined, now);
    assert.deepEqual(pass(10), ["withdraw e1"]);
    learning.macSeen("p1", m(1), now);
    learning.released(["e1"], 9);
    accept();
    synchronise(known("e1", 1, 1));
    assert.deepEqual(pass(10), ["publish e2 01"]);
  });

  it("when it goes while it is being published", () => {
    learning.macSeen("p1", m(1), now);
    pass(10);
    learning.checked(m(1), undefined, now);
    accept(endpoint("e1"));
    assert.deepEqual(pass(10), ["withdraw e1"]);
  });

  it("at once with its port", () => {
    published();
    learning.setPorts(new Map([["p2", port(2)]]), now);
    assert.deepEqual(pass(10), ["withdraw e1"]);
  });

  it("again and again while the server cannot be told", () => {
    published();
    learning.checked(m(1), undefined, now);
    assert.deepEqual(pass(10), ["withdraw e1"]);
    learning.failed(now);
    assert.deepEqual(pass(200), ["withdraw e1"]);
  });
});

describe("what moves", () => {
  it("between ports of this node stays the same endpoint", () => {
    published();
    assert.deepEqual(lines(learning.macSeen("p2", m(1), now)), [
      "moved: moved from the port of endpoint p1 to the port of endpoint p2",
    ]);
    assert.deepEqual(pass(1_000), []);
    learning.setPorts(new Map([["p2", port(2)]]), now);
    assert.deepEqual(pass(1_000), []);
  });

  it("to another node is that one's, and is not withdrawn", () => {
    published();
    const effects = learning.synchronise([], (address) => address === m(1), ++revision, now);
    assert.deepEqual(lines(effects), ["moved: moved to another node"]);
    assert.deepEqual(lines(learning.macMissing("p1", m(1))), []);
    assert.deepEqual(pass(1_000), []);
    learning.macSeen("p1", m(1), now);
    assert.deepEqual(pass(10), ["publish e2 01"], "it is back");
  });

  it("is not thought to have moved by a state from before it was published", () => {
    revision = 7;
    published();
    revision = 7;
    assert.deepEqual(lines(learning.synchronise([], () => true, revision, now)), []);
  });
});

describe("the server's state", () => {
  it("lacks what is here, because it was deleted or the server restored: it is published again", () => {
    published();
    revision++;
    assert.deepEqual(synchronise(), ["check 01"]);
    learning.checked(m(1), "p1", now);
    assert.deepEqual(pass(10), ["publish e2 01 10.0.0.1"]);
    accept(endpoint("e2", 1));
    revision = 1;
    assert.deepEqual(synchronise(), ["check 01"], "a revision that goes back is of a restored server");
    assert.deepEqual(commands(learning.checked(m(1), undefined, now)), []);
    assert.deepEqual(pass(1_000), [], "and what is gone is not published");
  });

  it("has less addresses, because another node took one", () => {
    learning.ipSeen("p1", m(1), i(1), now);
    learning.ipSeen("p1", m(1), i(2), now);
    pass(10);
    accept(endpoint("e1", 1, 2));
    revision++;
    synchronise(known("e1", 1, 1));
    learning.ipSeen("p1", m(1), i(3), now);
    assert.deepEqual(pass(10), ["publish e1 01 10.0.0.1,10.0.0.3"]);
  });

  it("has what an earlier run published: what the bridge shows stays, what it does not goes after the ageing time", () => {
    assert.deepEqual(synchronise(known("x1", 1, 1), known("x2", 2, 2)), ["check 01", "check 02"]);
    learning.checked(m(1), "p1", now);
    learning.checked(m(2), undefined, now);
    assert.deepEqual(pass(299_999), []);
    assert.deepEqual(pass(1), ["check 02"]);
    assert.deepEqual(commands(learning.checked(m(2), undefined, now)), []);
    assert.deepEqual(pass(10), ["withdraw x2"]);
    learning.released(["x2"], ++revision);
    accept();
    assert.deepEqual(synchronise(known("x1", 1, 1)), []);
    learning.ipSeen("p1", m(1), i(1), now);
    assert.deepEqual(pass(1_000_000), [], "nothing of x1 is news");
  });

  it("drops what an earlier run published and was not seen: it is forgotten", () => {
    synchronise(known("x1", 1, 1));
    revision++;
    assert.deepEqual(synchronise(), []);
    assert.deepEqual(pass(1_000_000), []);
  });
});

describe("the limit of a port", () => {
  it("is told once, and who has no room waits for it", () => {
    published(1);
    learning.macSeen("p1", m(2), now);
    assert.deepEqual(lines(learning.macSeen("p1", m(3), now)), [
      "limited: has more than 2 MAC addresses behind it; 02:00:00:00:00:03 and others are not published",
    ]);
    assert.deepEqual(learning.macSeen("p1", m(4), now), []);
    assert.deepEqual(pass(10), ["publish e2 02"]);
    accept(endpoint("e2"));
    learning.macMissing("p1", m(3));
    assert.deepEqual(commands(learning.checked(m(1), undefined, now)), ["check 04"]);
    assert.deepEqual(pass(10), ["withdraw e1; publish e3 04"]);
  });

  it("beyond four times as many the kernel stops to learn there for a minute; what is published stays", () => {
    published(1);
    for (let number = 2; number <= 8; number++) assert.deepEqual(commands(learning.macSeen("p1", m(number), now)), []);
    assert.deepEqual(commands(learning.macSeen("p1", m(9), now)), ["deafen p1"]);
    pass(10);
    accept(endpoint("e2"));
    assert.deepEqual(learning.macMissing("p1", m(1)), [], "the kernel forgot all at this port");
    assert.deepEqual(learning.macSeen("p1", m(10), now), []);
    learning.macSeen("p2", m(11), now);
    assert.deepEqual(pass(10), ["publish e3 0b"], "other ports are as before");
    accept(endpoint("e3"));
    assert.deepEqual(pass(60_000), ["listen p1"]);
    learning.macSeen("p1", m(1), now);
    assert.deepEqual(pass(300_000), ["check 02"], "what is heard of again stays");
    learning.checked(m(2), undefined, now);
    assert.deepEqual(pass(10), ["withdraw e2"]);
  });

  it("counts a MAC that moves to it", () => {
    published(1);
    for (const number of [2, 3]) learning.macSeen("p2", m(number), now);
    pass(10);
    accept(endpoint("e2"), endpoint("e3"));
    assert.match(lines(learning.macSeen("p2", m(1), now)).join(), /is full.*limited/);
    assert.deepEqual(pass(10), ["withdraw e1"]);
  });
});

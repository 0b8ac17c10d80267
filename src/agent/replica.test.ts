import assert from "node:assert/strict";
import { copyFileSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { refusal } from "../../test/support/server.ts";
import { cidr } from "../base/cidr.ts";
import { ip } from "../base/ip.ts";
import { mac } from "../base/mac.ts";
import { unwrap } from "../base/result.ts";
import { parsePolicy } from "../model/policy/index.ts";
import type { Pod, Vni } from "../model/resources.ts";
import { parseNetwork } from "../model/schema.ts";
import { placeIn } from "../testing/desired.ts";
import { temporaryDirectory } from "../testing/temporary-directory.ts";
import { hasPort, Replica, type ReplicaChange } from "./replica.ts";

const attachment = {
  network: "web",
  place: placeIn("/run/netns/c1"),
  state: "attached",
  allowedAddresses: [],
} as const;
const owner = { node: "h1", authority: "AA:BB", instance: "weft" };

test("a database that cannot be opened is explained by what SQLite and the system say, whatever it is called", (t) => {
  const directory = temporaryDirectory(t);
  const replica = new Replica(directory);
  assert.throws(() => new Replica(directory), refusal("already-exists", /another agent uses it/));
  replica.close();
  const missing = join(directory, "locked");
  assert.throws(() => new Replica(missing), refusal("failed-precondition", /ENOENT/));
  mkdirSync(missing);
  writeFileSync(join(missing, "agent.db"), "not a database at all".repeat(100), { mode: 0o600 });
  assert.throws(() => new Replica(missing), { hint: /the file is damaged/ });
});

test("a database serves its node, installation and instance alone", (t) => {
  const directory = temporaryDirectory(t);
  const made = new Replica(directory);
  made.requireOwner(owner);
  made.close();
  const replica = new Replica(directory);
  t.after(() => replica.close());
  replica.requireOwner(owner);
  for (const [other, reason] of [
    [{ node: "h2" }, /state of node h1; this agent is node h2/],
    [{ authority: "CC" }, /another installation/],
    [{ instance: "lab" }, /that of instance weft/],
  ] as const)
    assert.throws(() => replica.requireOwner({ ...owner, ...other }), refusal("failed-precondition", reason));
});

for (const [what, lose] of [
  ["the file", (file: string) => rmSync(file)],
  ["the file and its log", (file: string) => [file, `${file}-wal`].map((path) => rmSync(path))],
  ["its log", (file: string) => rmSync(`${file}-wal`)],
] as const)
  test(`a database that lost ${what} is written anew, with all that it held`, (t) => {
    const directory = temporaryDirectory(t);
    const file = join(directory, "agent.db");
    const replica = new Replica(directory);
    replica.requireOwner(owner);
    replica.putAttachment({ ...attachment, id: "000000000001" });
    let rewritten = 0;
    replica.onRewritten = () => rewritten++;
    lose(file);
    assert.equal(replica.isInPlace, false);
    replica.putAttachment({ ...attachment, id: "000000000002" });
    replica.putAttachment({ ...attachment, id: "000000000003" });
    assert.equal(rewritten, 1);
    assert.equal(replica.isInPlace, true);
    // As after kill -9: what is on disk counts.
    const copy = temporaryDirectory(t);
    for (const suffix of ["", "-wal"]) copyFileSync(`${file}${suffix}`, join(copy, `agent.db${suffix}`));
    replica.close();
    for (const place of [directory, copy]) {
      const again = new Replica(place);
      again.requireOwner(owner);
      assert.deepEqual(
        again.attachments().map(({ id }) => id),
        ["000000000001", "000000000002", "000000000003"],
      );
      again.close();
    }
  });

test("an attachment is on disk as it was put last", (t) => {
  const directory = temporaryDirectory(t);
  const replica = new Replica(directory);
  replica.putAttachment({ ...attachment, id: "000000000001", owner: "one" });
  const last = {
    ...attachment,
    id: "000000000001",
    state: "attached",
    place: { kind: "sandbox", netns: "/n" },
    owner: "two",
  } as const;
  replica.putAttachment(last);
  replica.close();
  const again = new Replica(directory);
  t.after(() => again.close());
  assert.deepEqual(again.attachments(), [last]);
});

test("a database that was replaced, or whose directory is gone, keeps nothing and says so, until it can", (t) => {
  const top = temporaryDirectory(t);
  const directory = join(top, "agent");
  mkdirSync(directory);
  const file = join(directory, "agent.db");
  const replica = new Replica(directory);
  t.after(() => replica.close());
  renameSync(file, `${file}.moved`);
  writeFileSync(file, "theirs");
  const put = () => replica.putAttachment({ ...attachment, id: "000000000001" });
  assert.throws(put, refusal("failed-precondition", /was replaced while the agent ran/));
  assert.equal(readFileSync(file, "utf8"), "theirs");
  rmSync(directory, { recursive: true });
  assert.throws(put, refusal("failed-precondition", /was deleted while the agent ran, and cannot be written anew/));
  mkdirSync(directory);
  put();
  assert.ok(replica.isInPlace);
});

test("attachments of earlier versions get route priorities, each its own, and no other addresses", (t) => {
  const directory = temporaryDirectory(t);
  const path = join(directory, "agent.db");
  new Replica(directory).close();
  const earlier = new DatabaseSync(path);
  earlier.exec(`DROP TABLE pods; DROP TABLE policies; DROP TABLE policyMembers; DROP TABLE attachments;
    CREATE TABLE attachments (
      id TEXT PRIMARY KEY, network TEXT NOT NULL, netns TEXT NOT NULL, interface TEXT NOT NULL, state TEXT NOT NULL, inode INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    PRAGMA user_version = 2;
    INSERT INTO attachments VALUES ('b', 'web', '/run/netns/c', 'eth0', 'attached', 0);
    INSERT INTO attachments VALUES ('a', 'db', '/run/netns/c', 'eth1', 'attached', 0);`);
  earlier.close();
  const replica = new Replica(directory);
  t.after(() => replica.close());
  assert.deepEqual(
    replica.attachments().map(({ id, place, allowedAddresses }) => [id, place, allowedAddresses]),
    [
      ["a", placeIn("/run/netns/c", "eth1", 1), []],
      ["b", placeIn("/run/netns/c", "eth0", 2), []],
    ],
  );
});

test("user data is there again as it was given, and stays when an attachment is written again", (t) => {
  const directory = temporaryDirectory(t);
  const before = new Replica(directory);
  const given = { ...attachment, id: "000000000001", userData: Uint8Array.of(0, 31, 139, 255) };
  before.putAttachment(given);
  before.putAttachment({ ...given, owner: "cni x" });
  before.close();
  const replica = new Replica(directory);
  t.after(() => replica.close());
  assert.deepEqual(replica.attachments(), [{ ...given, owner: "cni x" }]);
});

test("an attachment without a port of the version before keeps its addresses, and is known as such", (t) => {
  const directory = temporaryDirectory(t);
  const before = new Replica(directory);
  const ported = { ...attachment, id: "000000000001" };
  before.putAttachment(ported);
  before.putAttachment({ ...attachment, id: "000000000002", place: placeIn("", "eth0", 0), owner: "cni x" });
  before.close();
  const earlier = new DatabaseSync(join(directory, "agent.db"));
  earlier.exec(`DROP TABLE pods; ALTER TABLE attachments DROP COLUMN userData;
    ALTER TABLE attachments DROP COLUMN published; PRAGMA user_version = 8;`);
  earlier.close();
  const replica = new Replica(directory);
  t.after(() => replica.close());
  const held = { ...attachment, id: "000000000002", place: { kind: "external", interface: "eth0" }, owner: "cni x" };
  assert.deepEqual(replica.attachments(), [ported, held]);
  assert.deepEqual(replica.attachments().map(hasPort), [true, false]);
});

test("what is of no network goes: a network that comes in parts is written last", (t) => {
  const replica = new Replica(temporaryDirectory(t));
  t.after(() => replica.close());
  const network = unwrap(parseNetwork({ name: "web", tenant: "acme", vni: 7 as Vni, subnets: ["10.0.0.0/24"] }));
  const endpoint = (id: string, of: string): ReplicaChange => ({
    kind: "endpoint",
    endpoint: {
      id,
      network: of,
      node: "h2",
      mac: mac("02:00:00:00:00:01"),
      ips: [ip("10.0.0.9")],
      attachment: "netns",
      sequence: 1,
    },
  });
  const block: ReplicaChange = {
    kind: "block",
    block: { network: "large", node: "h2", cidr: cidr("10.8.0.0/26"), generation: 1 },
  };
  const web: ReplicaChange = {
    kind: "network",
    state: { network, effectiveMtu: 1450, placement: "own", change: undefined },
  };
  replica.apply([web, endpoint("000000000001", "web"), endpoint("000000000002", "large"), block], 5);
  replica.forgetPartial();
  assert.deepEqual(
    Array.from(replica.endpoints(), ({ id }) => id),
    ["000000000001"],
  );
  assert.deepEqual([...replica.blocks()], []);
});

test("pods are found again, as they were told last", (t) => {
  const directory = temporaryDirectory(t);
  const pod = (name: string): Pod => ({
    name,
    node: "h1",
    title: `shop/${name}`,
    networks: ["web"],
    ips: [],
    labels: { app: name },
  });
  const first = new Replica(directory);
  first.apply(
    [
      { kind: "pod", pod: pod("p1") },
      { kind: "pod", pod: { ...pod("p2"), labels: { app: "db" } } },
    ],
    5,
  );
  first.apply(
    [
      { kind: "pod", pod: pod("p2") },
      { kind: "pod-removed", name: "p1" },
    ],
    6,
  );
  first.close();
  const again = new Replica(directory);
  t.after(() => again.close());
  assert.deepEqual([...again.pods()], [pod("p2")]);
});

test("policies and members of a tenant are found again, and go with it", (t) => {
  const directory = temporaryDirectory(t);
  const policy = (name: string, tenant: string): ReplicaChange => ({
    kind: "policy",
    policy: unwrap(parsePolicy({ name, tenant, rules: [{ direction: "ingress", action: "log" }] })),
  });
  const member = (id: string, tenant: string): ReplicaChange => ({
    kind: "policy-member",
    member: { id, tenant, network: "web", ips: [ip("10.0.0.9")], labels: { app: "web" } },
  });
  const first = new Replica(directory);
  const told = [policy("p1", "acme"), policy("p2", "acme"), policy("p3", "other")];
  const members = [member("e1", "acme"), member("e2", "acme"), member("e3", "other")];
  first.apply([...told, ...members], 5);
  first.apply(
    [
      { kind: "policy-removed", tenant: "acme", name: "p2" },
      { kind: "policy-member-removed", tenant: "acme", network: "web", id: "e2" },
    ],
    6,
  );
  first.close();
  const again = new Replica(directory);
  t.after(() => again.close());
  assert.deepEqual(
    [...again.policies()].map((each) => ({ kind: "policy", policy: each })),
    [told[0], told[2]],
  );
  assert.deepEqual(
    [...again.policyMembers()].map((each) => ({ kind: "policy-member", member: each })),
    [members[0], members[2]],
  );
  again.apply([{ kind: "policies-removed", tenant: "acme" }], 7);
  assert.deepEqual(
    [...again.policies(), ...again.policyMembers()].map(({ tenant }) => tenant),
    ["other", "other"],
  );
  assert.equal(again.damagedRows, 0);
});

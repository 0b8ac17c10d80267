import assert from "node:assert/strict";
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { cidr } from "../../base/cidr.ts";
import { silentLogger } from "../../base/logger.ts";
import { temporaryDirectory } from "../../testing/temporary-directory.ts";
import { DockerNetworks } from "./docker-networks.ts";

const web = { id: "a1", network: "web", pools: [cidr("10.1.0.0/16"), cidr("fd01::/64")], isInternal: true };

test("networks are there again after a restart, and gone when they are removed", (t) => {
  const directory = temporaryDirectory(t);
  new DockerNetworks(directory, silentLogger).put(web);
  const again = new DockerNetworks(directory, silentLogger);
  assert.deepEqual(again.get("a1"), web);
  assert.equal(again.networkOf("fd01::/64"), "web");
  assert.equal(again.networkOf("10.2.0.0/16"), undefined);
  again.remove("a1");
  again.remove("a1");
  assert.throws(() => again.get("a1"), /does not know it/);
  assert.deepEqual(readdirSync(join(directory, "docker")), []);
});

test("of networks with the same pool all lead to the same network", (t) => {
  const directory = temporaryDirectory(t);
  const networks = new DockerNetworks(directory, silentLogger);
  networks.put(web);
  networks.put({ ...web, id: "a2", isInternal: false });
  assert.throws(
    () => networks.put({ ...web, id: "a3", network: "other" }),
    /network a1 of this engine leads to network web of weft's, with the same subnet/,
  );
  assert.equal(existsSync(join(directory, "docker", "a3.json")), false);
});

test("an id that is none is no file's name", (t) => {
  const networks = new DockerNetworks(temporaryDirectory(t), silentLogger);
  for (const id of ["", "../a", "a/b", "a".repeat(129)])
    assert.throws(() => networks.put({ ...web, id }), /NetworkID: found/);
});

test("a file that is not as weft wrote it costs its own network alone", (t) => {
  const directory = temporaryDirectory(t);
  new DockerNetworks(directory, silentLogger).put(web);
  for (const [name, text] of [
    ["b1", "{"],
    ["b2", '{"network":"-","pools":[]}'],
    ["b3", '{"network":"web","pools":["x"]}'],
  ] as const)
    writeFileSync(join(directory, "docker", `${name}.json`), text);
  const networks = new DockerNetworks(directory, silentLogger);
  assert.deepEqual(networks.get("a1"), web);
  for (const id of ["b1", "b2", "b3"]) assert.throws(() => networks.get(id), /does not know it/);
});

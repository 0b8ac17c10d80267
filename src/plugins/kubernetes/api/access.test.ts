import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it, test } from "node:test";
import { temporaryDirectory } from "../../../testing/temporary-directory.ts";
import { accessByKubeconfig, accessInCluster } from "./access.ts";

const base64 = (text: string): string => Buffer.from(text).toString("base64");
const config = (cluster: object, user: object, fields: object = {}): string =>
  JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    "current-context": "c",
    contexts: [{ name: "c", context: { cluster: "k", user: "u", namespace: "n" } }],
    clusters: [{ name: "k", cluster: { server: "https://192.0.2.1:6443", ...cluster } }],
    users: [{ name: "u", user }],
    ...fields,
  });

test("a kubeconfig says where the API server is, by data or by files beside it", async (t) => {
  const folder = temporaryDirectory(t);
  const file = join(folder, "config");
  mkdirSync(join(folder, "pki"));
  for (const name of ["ca", "crt", "key"]) writeFileSync(join(folder, "pki", name), name);
  const files = { "client-certificate": "pki/crt", "client-key": join(folder, "pki/key") };
  writeFileSync(file, config({ "certificate-authority": "pki/ca", "tls-server-name": "api" }, files));
  const { url, token, ...access } = await accessByKubeconfig(file);
  assert.equal(url.href, "https://192.0.2.1:6443/");
  assert.equal(token, undefined);
  assert.deepEqual(access, { ca: "ca", certificate: "crt", privateKey: "key", serverName: "api" });
  writeFileSync(file, config({ "certificate-authority-data": base64("other") }, { token: "secret" }));
  const byToken = await accessByKubeconfig(file);
  assert.deepEqual([byToken.ca, byToken.certificate, await byToken.token?.()], ["other", undefined, "secret"]);
  writeFileSync(join(folder, "token"), "first\n");
  writeFileSync(file, config({}, { tokenFile: "token" }));
  const renewed = await accessByKubeconfig(file);
  assert.equal(await renewed.token?.(), "first");
  writeFileSync(join(folder, "token"), "second\n");
  assert.equal(await renewed.token?.(), "second");
});

describe("a kubeconfig is refused", () => {
  const cases: [what: string, content: string, reason: RegExp][] = [
    ["that is no YAML", "a: [", /read the kubeconfig .*config: /],
    ["without a context", config({}, {}, { "current-context": "x" }), /there is no context x/],
    ["without its cluster", config({}, {}, { clusters: [] }), /there is no cluster k/],
    ["without its user", config({}, {}, { users: [] }), /there is no user u/],
    ["without a list of users", config({}, {}, { users: 5 }), /users: /],
    ["that trusts anybody", config({ "insecure-skip-tls-verify": true }, {}), /anybody could be that API server/],
    [
      "with a server in plain text",
      config({ server: "http://192.0.2.1" }, {}),
      /server: found "http:.*allowed: https:/,
    ],
    ["with a helper program", config({}, { exec: { command: "aws" } }), /user u proves itself by exec/],
    ["with a file that is not there", config({ "certificate-authority": "none" }, {}), /no such file.*none/],
  ];
  for (const [what, content, reason] of cases)
    it(what, async (t) => {
      const file = join(temporaryDirectory(t), "config");
      writeFileSync(file, content);
      await assert.rejects(accessByKubeconfig(file), reason);
    });
});

test("a pod has its service account, whose token is renewed", async (t) => {
  const folder = temporaryDirectory(t);
  await assert.rejects(accessInCluster({}, folder), /KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set/);
  const environment = { KUBERNETES_SERVICE_HOST: "fd00::1", KUBERNETES_SERVICE_PORT: "443" };
  await assert.rejects(accessInCluster(environment, folder), /no such file.*ca.crt/);
  for (const name of ["ca.crt", "token"]) writeFileSync(join(folder, name), `${name}\n`);
  const { url, ca, token } = await accessInCluster(environment, folder);
  assert.deepEqual([url.href, ca, await token?.()], ["https://[fd00::1]/", "ca.crt\n", "token"]);
  writeFileSync(join(folder, "token"), "next");
  assert.equal(await token?.(), "next");
});

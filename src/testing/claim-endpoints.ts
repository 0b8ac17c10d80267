/**
 * Claims endpoints at a server in the name of a node; prints the milliseconds that it took. Part of claims.ts, which
 * runs it in the network namespace of that node.
 *
 *     scripts/node.sh src/testing/claim-endpoints.ts URL NODE-DIRECTORY NETWORK FIRST LAST PARALLEL
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { connectNode } from "../api/clients.ts";

const [url = "", directory = "", network = "", first, last, parallel] = process.argv.slice(2);
const read = (file: string): string => readFileSync(join(directory, file), "utf8");
const { client, close } = connectNode({
  url,
  credentials: { certificate: read("node.crt"), privateKey: read("node.key"), caCertificate: read("ca.crt") },
});
let next = Number(first);
const claim = async (): Promise<void> => {
  while (next <= Number(last)) {
    const id = (next++).toString(16).padStart(12, "0");
    await client.createEndpoint({ id, network, attachment: "netns" });
  }
};
const start = performance.now();
await Promise.all(Array.from({ length: Number(parallel) }, claim));
console.log(performance.now() - start);
close();

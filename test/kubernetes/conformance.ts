/**
 * The published conformance cases of Kubernetes' network group, run by their own program in a cluster that has weft for its network; what came
 * of each, as a table. Exits with 1 when one fails that is not known to.
 *
 *     scripts/node.sh test/kubernetes/conformance.ts [WORDS OF A CASE…]
 */
import { mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { KubernetesCluster } from "./cluster.ts";
import { ClusterDns } from "./cluster-dns.ts";
import { agnhostImage } from "./images.ts";
import { program } from "./programs.ts";
import { WeftNetwork } from "./weft.ts";

/** Cases that this cluster lacks something for, which is not weft. */
const left = [
  ["DNS should", "they ask for more than this cluster's DNS knows, and by images that no Debian package makes"],
  ["should be able to change the type from [A-Za-z]+ to ExternalName", "this cluster's DNS has no second names"],
] as const;

/** Characters of what is said of a case. */
const longestFailure = 1_000;

const cluster = await KubernetesCluster.up({ after: () => {} }, { isControlNode: true });
const { control, kubectl, nodes } = cluster;
const agnhost = await agnhostImage(cluster.imageFolder);
for (const node of nodes) await node.import(agnhost.archive);
await WeftNetwork.up(cluster);
const dns = new ClusterDns(control, kubectl);
const followed = dns.follow();
const reports = join(cluster.folder, "reports");
mkdirSync(reports);
const words = process.argv.slice(2).join(" ");
const run = control.start(
  ...["e2e", program("e2e.test"), `-kubeconfig=${kubectl.kubeconfig}`, "-provider=skeleton", `-report-dir=${reports}`],
  ...[`-ginkgo.focus=\\[sig-network\\].*${words}.*\\[Conformance\\]`, "-ginkgo.noColor", "-num-nodes=2"],
  ...[`-ginkgo.skip=${left.map(([name]) => name).join("|")}`, "-dump-logs-on-failure=false"],
);
await run.ended();
dns.end();
await followed;
const cases = readdirSync(reports)
  .filter((name) => name.endsWith(".xml"))
  .flatMap((name) => casesIn(readFileSync(join(reports, name), "utf8")));
for (const { name, seconds, failure } of cases) {
  console.log(`${failure === undefined ? "passed" : "FAILED"}  ${`${seconds}`.padStart(4)} s  ${name}`);
  if (failure !== undefined) console.log(`        ${failure.slice(0, longestFailure)}`);
}
for (const [name, reason] of left) console.log(`left out        ${name}…: ${reason}`);
const failed = cases.filter(({ failure }) => failure !== undefined).length;
console.log(`${cases.length - failed} passed, ${failed} failed`);
process.exit(cases.length > 0 && failed === 0 ? 0 : 1);

/** Those that ran, of a report as JUnit writes it. */
function casesIn(report: string): { readonly name: string; readonly seconds: number; readonly failure?: string }[] {
  return [...report.matchAll(/<testcase name="([^"]*)"[^>]* time="([^"]*)">(.*?)<\/testcase>/gs)].flatMap(
    ([, name = "", time = "", content = ""]) => {
      if (content.includes("<skipped")) return [];
      const failure = /<failure[^>]*>(.*?)<\/failure>/s.exec(content)?.[1]?.trim().split("\n").at(-1);
      const common = { name: name.replaceAll("&#34;", '"'), seconds: Math.round(Number(time)) };
      return [failure === undefined ? common : { ...common, failure }];
    },
  );
}

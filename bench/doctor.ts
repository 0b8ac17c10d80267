/** What `weft doctor` takes on a node whose network has many endpoints elsewhere: time, and memory of the agent beside what it had. */
import { readFileSync } from "node:fs";
import { Lab } from "../src/lab/lab.ts";
import { runProgram, weftProgram } from "../src/lab/process.ts";
import { claim } from "../src/testing/claims.ts";

const sizes = [1_000, 100_000];

/** KiB that are resident now. proc(5), VmRSS. */
function residentMemory(pid: number): number {
  return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0);
}

for (const size of sizes) {
  const lab = await Lab.up({ name: "benchdoc", hosts: 2 });
  try {
    await lab.admin.create({
      resources: [
        { resource: { case: "tenant", value: { name: "acme" } } },
        { resource: { case: "network", value: { name: "web", tenant: "acme", vni: 100, subnets: ["10.0.0.0/8"] } } },
      ],
    });
    lab.addContainer("a");
    lab.addContainer("b");
    await lab.attach("b", "h2", "web");
    await lab.stop("h2");
    await claim(lab, { host: "h2", network: "web", first: 1, last: size, parallel: 64 });
    await lab.attach("a", "h1", "web");
    while (!(await lab.agent("h1").getStatus({})).inSync) await new Promise((resolve) => setTimeout(resolve, 200));
    const pid = lab.processes.find(({ name }) => name === "h1")?.pid ?? 0;
    const before = residentMemory(pid);
    let peak = before;
    const watch = setInterval(() => {
      peak = Math.max(peak, residentMemory(pid));
    }, 20);
    using host = lab.namespace("h1");
    const began = performance.now();
    const { output } = await runProgram(host, weftProgram, ["doctor", "--agent", lab.agentSocket("h1"), "-o", "json"]);
    const took = performance.now() - began;
    clearInterval(watch);
    const codes = JSON.parse(output).findings.map(({ code }: { readonly code: string }) => code);
    console.log(
      `${size} endpoints elsewhere: ${(took / 1_000).toFixed(2)} s, ${((peak - before) / 1024).toFixed(0)} MiB beside the ${(before / 1024).toFixed(0)} that the agent had; found: ${codes.join(", ") || "nothing"}`,
    );
  } finally {
    await lab.down();
  }
}

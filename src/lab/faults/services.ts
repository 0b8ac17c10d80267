import { join } from "node:path";
import { loadCredentials, saveCredentials } from "../../agent/identity-files.ts";
import { certificateRequest } from "../../api/certificate-request.ts";
import { nodeOfCertificateText } from "../../api/node-uri.ts";
import { systemClock } from "../../base/clock.ts";
import { hours } from "../../base/duration.ts";
import { unwrap } from "../../base/result.ts";
import { CertificateAuthority, readCertificateRequest } from "../../server/identity/certificate-authority.ts";
import type { Bench } from "./bench.ts";
import type { Fault } from "./fault.ts";

/** The agent of h2 does without its server. */
async function isAlone(bench: Bench): Promise<boolean> {
  const { serverState } = await bench.lab.agent("h2").getStatus({});
  return serverState !== "connected";
}

async function fails(action: () => Promise<unknown>): Promise<boolean> {
  return action().then(
    () => false,
    () => true,
  );
}

const agentStopped: Fault = {
  name: "agent-stopped",
  group: "services",
  title: "the agent of h2 does not run: packets flow, but nothing that changes comes to be known there",
  needs: [],
  expected: [{ code: "agent-stopped", host: "h2", object: "agent" }],
  break: (bench) => bench.stopAgent("h2"),
  mend: (bench) => bench.restartAgent("h2"),
  symptom: ({ lab }) => fails(() => lab.agent("h2").getStatus({})),
};

const serverStopped: Fault = {
  name: "server-stopped",
  group: "services",
  title: "the server does not run: packets flow, but nobody can be attached",
  needs: [],
  expected: ["h1", "h2", "h3"].map((host) => ({
    code: "server-unreachable",
    host,
    object: "https://192.0.2.254:7400",
  })),
  break: ({ lab }) => lab.stop("server"),
  async mend(bench) {
    if (!bench.lab.isRunning("server")) await bench.lab.startServer();
    for (const host of bench.lab.hosts) await bench.settled(host);
  },
  symptom: ({ lab }) => fails(() => lab.admin.getStatus({})),
};

/** What faketime(1) sets; that program itself would stay between the lab and the agent. The loader knows what $LIB is. */
const twoDaysBehind = [
  "LD_PRELOAD=/usr/$LIB/faketime/libfaketime.so.1",
  "FAKETIME=-2d",
  "FAKETIME_DONT_FAKE_MONOTONIC=1",
];

/** Certificates are good from a day before they were made, for hosts whose clocks are late. */
const clockOff: Fault = {
  name: "clock-off",
  group: "services",
  title: "the clock of h2 is two days behind, so that the server's certificate is not yet valid there",
  needs: ["faketime"],
  expected: [{ code: "clock-skew", host: "h2", object: "clock" }],
  async break(bench) {
    await bench.stopAgent("h2");
    await bench.lab.startAgent("h2", { launcher: ["env", ...twoDaysBehind] });
  },
  mend: (bench) => bench.restartAgent("h2"),
  symptom: isAlone,
};

/** For 30 days after its end a certificate is still good for getting a new one. */
const certificateExpired: Fault = {
  name: "certificate-expired",
  group: "services",
  title: "h2 was off until its certificate had expired too long ago to be renewed",
  needs: [],
  expected: [{ code: "certificate-expired", host: "h2", object: "certificate" }],
  async break(bench) {
    const { directory } = bench.lab.names;
    const credentials = loadCredentials(join(directory, "h2"));
    const node = nodeOfCertificateText(credentials?.certificate ?? "");
    if (credentials === undefined || node === undefined) throw new TypeError("h2 has not joined");
    bench.note("certificate", credentials.certificate);
    await bench.stopAgent("h2");
    const longAgo = { ...systemClock, now: () => Date.now() - hours(40 * 24) };
    const authority = await CertificateAuthority.open(join(directory, "server"), longAgo);
    const request = unwrap(await readCertificateRequest(certificateRequest(credentials.privateKey, node.name)));
    const certificate = await authority.issueNode(request, node.name, node.generation, hours(1));
    saveCredentials(join(directory, "h2"), { ...credentials, certificate });
    await bench.lab.startAgent("h2");
  },
  async mend(bench) {
    await bench.stopAgent("h2");
    const directory = join(bench.lab.names.directory, "h2");
    const credentials = loadCredentials(directory);
    const certificate = bench.noted("certificate");
    if (credentials !== undefined && certificate !== undefined)
      saveCredentials(directory, { ...credentials, certificate });
    await bench.restartAgent("h2");
  },
  symptom: isAlone,
};

const nameGone: Fault = {
  name: "server-name-gone",
  group: "services",
  title: "the agent of h2 has the server by a name, which DNS does not know any more",
  needs: [],
  expected: [{ code: "server-name-unresolved", host: "h2", object: "weft-server.invalid" }],
  async break(bench) {
    await bench.stopAgent("h2");
    // RFC 6761: nothing is ever named so.
    await bench.lab.startAgent("h2", { server: "https://weft-server.invalid:7400" });
  },
  mend: (bench) => bench.restartAgent("h2"),
  symptom: isAlone,
};

/** Its data directory is on a disk of its own then, which goes with the fault. */
const diskFull: Fault = {
  name: "disk-full",
  group: "services",
  title: "the disk with the data directory of h2's agent is full: nobody can be attached there",
  needs: [],
  expected: [{ code: "disk-full", host: "h2", object: "data directory" }],
  async break(bench) {
    const { kept, data } = places(bench);
    await bench.stopAgent("h2");
    await bench.onMachine(
      `mkdir -p -m 700 ${kept}; cp -a ${data}/. ${kept}/
       mount -t tmpfs -o size=24m,mode=700 weft-lab ${data}; cp -a ${kept}/. ${data}/; rm -r ${kept}`,
    );
    await bench.lab.startAgent("h2");
    await bench.onMachine(`cat /dev/zero >${data}/core 2>/dev/null || :`);
  },
  async mend(bench) {
    const { kept, data } = places(bench);
    await bench.stopAgent("h2");
    await bench.onMachine(
      `rm -rf ${kept}
       if mountpoint -q ${data}; then
         rm -f ${data}/core; mkdir -m 700 ${kept}; cp -a ${data}/. ${kept}/; umount ${data}
         rm -r ${data}; mv ${kept} ${data}
       fi`,
    );
    await bench.restartAgent("h2");
  },
  async symptom({ lab }) {
    const container = "newcomer";
    lab.addContainer(container);
    try {
      const isRefused = await fails(() => lab.attach(container, "h2", "blue-net"));
      if (!isRefused) await lab.detach(container, "h2", "blue-net");
      return isRefused;
    } finally {
      lab.removeContainer(container);
    }
  },
};

function places({ lab }: Bench): { readonly kept: string; readonly data: string } {
  return { kept: join(lab.names.directory, "h2-kept"), data: join(lab.names.directory, "h2") };
}

export const serviceFaults: readonly Fault[] = [
  agentStopped,
  serverStopped,
  clockOff,
  certificateExpired,
  nameGone,
  diskFull,
];

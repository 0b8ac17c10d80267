import { WeftError } from "../../base/errors.ts";
import { NetworkNamespace, namedNamespaceExists } from "../../linux/index.ts";
import type { Lab } from "../lab.ts";
import { pause, runProgram } from "../process.ts";
import { readBroken, writeBroken } from "./state.ts";

/** Milliseconds until an agent that was started again must be whole. */
const patience = 120_000;

/** A lab in the hands of whoever breaks and mends it: the commands of an operator, and what was noted before. */
export class Bench {
  readonly lab: Lab;

  constructor(lab: Lab) {
    this.lab = lab;
  }

  /** Runs a script of a shell in a host, a container, `server` or `switch`; what it printed. It must succeed. */
  async sh(place: string, script: string): Promise<string> {
    using namespace = this.lab.namespace(place);
    return succeeded(namespace, script);
  }

  /** The same in the namespace that a tenant has on a host. */
  async inTenant(host: string, tenant: string, script: string): Promise<string> {
    using namespace = NetworkNamespace.openNamed(this.tenantNamespace(host, tenant));
    return succeeded(namespace, script);
  }

  /** The same outside of the lab's places: for what is on disk. */
  async onMachine(script: string): Promise<void> {
    using here = NetworkNamespace.current();
    await succeeded(here, script);
  }

  /** Whether a script succeeds. */
  async succeeds(place: string, script: string): Promise<boolean> {
    using namespace = this.lab.namespace(place);
    return (await runProgram(namespace, "sh", ["-ec", script])).status === 0;
  }

  /** Whether there is such a host or container now. */
  has(place: string): boolean {
    return namedNamespaceExists(this.lab.names.container(place)) || namedNamespaceExists(this.lab.names.host(place));
  }

  tenantNamespace(host: string, tenant: string): string {
    return `${this.lab.names.instance(host)}-${tenant}`;
  }

  /** Whether any of a few echo requests is answered. `size`: octets behind the ICMP header. */
  pings(from: string, to: string, size = 56): Promise<boolean> {
    return this.succeeds(from, `ping -n -q -c 3 -i 0.2 -W 1 -s ${size} ${to}`);
  }

  /** Notes how something is before it is changed; the first note stays. */
  note(key: string, value: string): void {
    const state = readBroken(this.lab);
    if (state !== undefined && state.before[key] === undefined)
      writeBroken(this.lab, { ...state, before: { ...state.before, [key]: value } });
  }

  noted(key: string): string | undefined {
    return readBroken(this.lab)?.before[key];
  }

  /** Sets settings of the kernel's in a place, by names of sysctl(8), and notes what they were. */
  async setSysctls(place: string, settings: Readonly<Record<string, number>>): Promise<void> {
    for (const [name, value] of Object.entries(settings)) {
      this.note(`${place} ${name}`, (await this.sh(place, `sysctl -n ${name}`)).trim());
      await this.sh(place, `sysctl -q -w ${name}=${value}`);
    }
  }

  /** Sets back what {@link setSysctls} changed. */
  async restoreSysctls(): Promise<void> {
    for (const [key, value] of Object.entries(readBroken(this.lab)?.before ?? {})) {
      const [place = "", name = ""] = key.split(" ");
      if (/^net\./.test(name)) await this.sh(place, `sysctl -q -w ${name}=${value}`);
    }
  }

  /** The address of a container that the fault has brought along. */
  addressOf(container: string): string {
    return this.noted(`address of ${container}`) ?? "";
  }

  /** The MAC address of the interface of a host or container. */
  async macOf(place: string): Promise<string> {
    const [, , mac = ""] = (await this.sh(place, "ip -br link show dev eth0")).split(/\s+/);
    return mac;
  }

  /** The device of a container in its tenant's namespace on a host. */
  async portOf(container: string, host: string): Promise<string> {
    const { endpoints } = await this.lab.agent(host).getStatus({});
    const netns = `/run/netns/${this.lab.names.container(container)}`;
    const { port } = endpoints.find((each) => each.netns === netns) ?? {};
    if (port !== undefined) return port;
    throw new WeftError({
      code: "not-found",
      attempted: `find the port of ${container} on ${host}`,
      reason: "no endpoint is attached there",
      hint: "faults are made in the lab as weft lab up leaves it; bring it up anew",
    });
  }

  /** The agent of the host runs no more, as after a failed upgrade: what somebody does by hand stays as he left it. */
  async stopAgent(host: string): Promise<void> {
    if (this.lab.isRunning(host)) await this.lab.stop(host);
  }

  /** The agent of the host, started anew, has nothing left to repair. */
  async restartAgent(host: string): Promise<void> {
    await this.stopAgent(host);
    await this.lab.startAgent(host);
    await this.settled(host);
  }

  /** The agent of the host is connected, and has nothing left to do. */
  async settled(host: string): Promise<void> {
    const end = performance.now() + patience;
    for (;;) {
      const { problems, inSync, serverState } = await this.lab.agent(host).getStatus({});
      if (problems.length === 0 && inSync && serverState === "connected") return;
      if (performance.now() > end)
        throw new WeftError({
          code: "unavailable",
          attempted: `wait for the agent of ${host}`,
          reason: problems.map(({ object, reason }) => `${object}: ${reason}`).join("; ") || `it is ${serverState}`,
        });
      await pause(50);
    }
  }
}

async function succeeded(namespace: NetworkNamespace, script: string): Promise<string> {
  const { status, output, complaints } = await runProgram(namespace, "sh", ["-ec", script]);
  if (status === 0) return output;
  throw new WeftError({
    code: "failed-precondition",
    attempted: `run in ${namespace.label}: ${script.trim().replaceAll(/\s*\n\s*/g, "; ")}`,
    reason: (complaints || output).trim() || `it ended with ${status}`,
  });
}

import type { IpAddress } from "../../base/ip.ts";
import type { MacAddress } from "../../base/mac.ts";
import type { NetlinkSocket } from "../../netlink/index.ts";
import type { DesiredNetwork, LocalEndpoint, RowMarks } from "../desired.ts";
import type { Guard, SentPacket } from "./guard.ts";
import { NetworkMacs } from "./network-macs.ts";
import { countsUnknown, type Dropped, type DropReason, mayHaveNobodys, type PortPlace, portRows } from "./rows.ts";

export interface NetworkGuardOptions {
  readonly guard: Guard;
  /** The number of the tenant's namespace. */
  readonly tenant: number;
  readonly socket: NetlinkSocket;
  readonly desired: DesiredNetwork;
}

/** What the endpoints of one network may send from this node. */
export class NetworkGuard implements Pick<RowMarks, "mac" | "ip"> {
  readonly #options: NetworkGuardOptions;
  readonly #macs: NetworkMacs;
  /** Of a network whose ports may have addresses that nobody has: what may have come to be somebody's, or ceased to be. */
  readonly #ips = new Set<IpAddress>();
  /** Ports that have, or may have, rows. */
  readonly #ports = new Set<number>();
  #isSwept = true;
  #isMarkedWhole = true;
  #isHeld = false;

  constructor(options: NetworkGuardOptions) {
    this.#options = options;
    this.#macs = new NetworkMacs({ ...options, hasPorts: () => this.#ports.size > 0 });
  }

  mac(mac: MacAddress): void {
    this.#macs.mark(mac);
  }

  /** The endpoint is here, or is no more. */
  port(endpoint: string): void {
    this.#macs.lookAt(endpoint);
  }

  ip(ip: IpAddress): void {
    if (this.#isLearning) this.#ips.add(ip);
  }

  markAll(): void {
    this.#isMarkedWhole = true;
  }

  /** Whether the kernel knows what is taken, and has nothing of ports that are gone. */
  get isSettled(): boolean {
    return this.#isSwept && !this.#isMarkedWhole && this.#macs.isSettled && this.#ips.size === 0;
  }

  /**
   * Where the bridge learns nothing for a while, those that were learned before go on sending. Tells whether anything of the port had
   * to be written.
   */
  async ensurePort(endpoint: LocalEndpoint, index: number): Promise<boolean> {
    const { guard, tenant, socket, desired } = this.#options;
    const { settings } = desired;
    const place = { tenant, index };
    this.#ports.add(index);
    this.#isSwept = false;
    this.#macs.lookAt(endpoint.id);
    for (const { address } of endpoint.addresses) this.ip(address);
    if (mayHaveNobodys(settings)) await this.#ensureTaken();
    const { localLearning } = desired.settingsOfPort(endpoint.id);
    const isTaught = countsUnknown(settings) && localLearning && endpoint.standsBy !== true;
    return guard.ensurePort(place, portRows(place, endpoint, settings, isTaught), socket);
  }

  /** The device of this index is gone, and was a port. */
  portGone(index: number): void {
    this.#ports.add(index);
    this.#isSwept = false;
  }

  /** What the ports there are need, and nothing of others. */
  async ensure(isPort: (index: number) => boolean): Promise<void> {
    this.#sweep(isPort);
    await this.#ensureTaken();
  }

  /** Nothing in the network leads any more to what nobody has. */
  forget(): void {
    this.#macs.forget();
  }

  /** Removes the rows of ports that are none any more, or never came to be. */
  #sweep(isPort: (index: number) => boolean): void {
    for (const index of this.#ports) {
      if (isPort(index)) continue;
      this.#options.guard.removePort(this.#place(index));
      this.#ports.delete(index);
    }
    this.#isSwept = true;
  }

  droppedOf(index: number): Dropped | undefined {
    return this.#options.guard.droppedOf(this.#place(index));
  }

  /** Why the kernel drops a packet that a port sends; `absent`: it does not ask the guard there. */
  async reasonToDrop(index: number, sent: SentPacket): Promise<DropReason | "absent" | undefined> {
    const { guard, socket, desired } = this.#options;
    if (!(await guard.isAt(index, socket))) return "absent";
    return guard.reasonToDrop(this.#place(index), desired.settings.vni, sent);
  }

  /** Tells the kernel which addresses are taken. */
  async #ensureTaken(): Promise<void> {
    const { guard, tenant, desired } = this.#options;
    const { vni } = desired.settings;
    await this.#macs.ensure();
    if (!this.#isLearning) {
      if (this.#isHeld || this.#isMarkedWhole) guard.forgetTaken(tenant, vni, () => false);
      this.#isHeld = false;
    } else {
      this.#isHeld = true;
      if (this.#isMarkedWhole) {
        guard.forgetTaken(tenant, vni, (ip) => desired.isDeclaredIp(ip));
        for (const ip of desired.claimableIps()) this.#ips.add(ip);
      }
      for (const ip of this.#ips) guard.setTaken(tenant, vni, ip, desired.isDeclaredIp(ip));
    }
    this.#ips.clear();
    this.#isMarkedWhole = false;
  }

  /** The network has left. */
  async remove(): Promise<void> {
    this.#sweep(() => false);
    await this.#macs.remove();
    this.#options.guard.forgetNetwork(this.#options.tenant, this.#options.desired.settings.vni);
  }

  get #isLearning(): boolean {
    return mayHaveNobodys(this.#options.desired.settings);
  }

  #place(index: number): PortPlace {
    return { tenant: this.#options.tenant, index };
  }
}

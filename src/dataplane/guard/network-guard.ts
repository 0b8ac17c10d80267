import type { IpAddress } from "../../base/ip.ts";
import type { MacAddress } from "../../base/mac.ts";
import type { NetlinkSocket } from "../../netlink/index.ts";
import type { DesiredNetwork, LocalEndpoint, RowMarks } from "../desired.ts";
import type { Guard, SentPacket } from "./guard.ts";
import { type Dropped, type DropReason, type PortPlace, portRows } from "./rows.ts";

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
  /** Of a network whose ports may have addresses that nobody has: what may have come to be somebody's, or ceased to be. */
  readonly #macs = new Set<MacAddress>();
  readonly #ips = new Set<IpAddress>();
  /** Ports that have, or may have, rows. */
  readonly #ports = new Set<number>();
  #isSwept = true;
  #isMarkedWhole = true;
  #isHeld = false;

  constructor(options: NetworkGuardOptions) {
    this.#options = options;
  }

  mac(mac: MacAddress): void {
    if (this.#isLearning) this.#macs.add(mac);
  }

  ip(ip: IpAddress): void {
    if (this.#isLearning) this.#ips.add(ip);
  }

  markAll(): void {
    this.#isMarkedWhole = true;
  }

  /** Whether the kernel knows what is taken, and has nothing of ports that are gone. */
  get isSettled(): boolean {
    return this.#isSwept && !this.#isMarkedWhole && this.#macs.size === 0 && this.#ips.size === 0;
  }

  /**
   * Where the bridge learns nothing for a while, those that were learned before go on sending. Tells whether anything of the port had
   * to be written.
   */
  ensurePort(endpoint: LocalEndpoint, index: number): Promise<boolean> {
    const { guard, tenant, socket, desired } = this.#options;
    const place = { tenant, index };
    this.#ports.add(index);
    this.#isSwept = false;
    this.mac(endpoint.mac);
    for (const { address } of endpoint.addresses) this.ip(address);
    this.ensureTaken();
    return guard.ensurePort(place, portRows(place, endpoint, desired.settings), socket);
  }

  /** The device of this index is gone, and was a port. */
  portGone(index: number): void {
    this.#ports.add(index);
    this.#isSwept = false;
  }

  /** Removes the rows of ports that are none any more, or never came to be. */
  sweep(isPort: (index: number) => boolean): void {
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
  ensureTaken(): void {
    const { guard, tenant, desired } = this.#options;
    const { vni } = desired.settings;
    if (!this.#isLearning) {
      if (this.#isHeld || this.#isMarkedWhole) guard.forgetTaken(tenant, vni, () => false);
      this.#isHeld = false;
    } else {
      this.#isHeld = true;
      if (this.#isMarkedWhole) {
        guard.forgetTaken(tenant, vni, (of) =>
          of.mac === undefined ? desired.isDeclaredIp(of.ip) : desired.isDeclaredMac(of.mac),
        );
        for (const each of desired.claimable()) "mac" in each ? this.#macs.add(each.mac) : this.#ips.add(each.ip);
      }
      for (const mac of this.#macs) guard.setTaken(tenant, vni, mac, desired.isDeclaredMac(mac));
      for (const ip of this.#ips) guard.setTaken(tenant, vni, ip, desired.isDeclaredIp(ip));
    }
    this.#macs.clear();
    this.#ips.clear();
    this.#isMarkedWhole = false;
  }

  /** The network has left. */
  remove(): void {
    this.sweep(() => false);
    this.#options.guard.forgetNetwork(this.#options.tenant, this.#options.desired.settings.vni);
  }

  get #isLearning(): boolean {
    const { antiSpoof, localLearning } = this.#options.desired.settings;
    return antiSpoof && localLearning;
  }

  #place(index: number): PortPlace {
    return { tenant: this.#options.tenant, index };
  }
}

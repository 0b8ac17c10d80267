import { cidrFamily } from "../../base/cidr.ts";
import { WeftError } from "../../base/errors.ts";
import { listLinks, listRoutes, type Route, routeType } from "../../netlink/index.ts";
import type { DesiredNetwork } from "../desired.ts";
import type { KernelNamespace } from "../kernel.ts";
import {
  endpointPortName,
  isAliasOf,
  isOwnLink,
  isRoutingDevice,
  onHostTable,
  type UplinkIdentity,
  weftProtocol,
} from "../kernel-names.ts";
import { onHostFilterTable, onHostHandedUpTable } from "../nft/on-host-filter.ts";
import type { Problems } from "../report.ts";
import type { ProtectionPlan } from "../tenant-protection.ts";
import type { UnderlayDataplane } from "../underlay-dataplane.ts";
import { releaseForwarding } from "../uplink/host-forwarding.ts";
import { routeInTheWay } from "../uplink/host-routes.ts";
import { publishedOf } from "../uplink/networks-request.ts";
import { families } from "../uplink/request.ts";
import { ensureRoutingSettings } from "./device-settings.ts";

export interface OnHostOptions extends UplinkIdentity {
  readonly underlay: UnderlayDataplane;
  readonly problems: Problems;
}

/** What a tenant whose networks are in the host's own namespace asks of the host: room among its routes, and to forward. */
export class OnHost {
  readonly #options: OnHostOptions;

  constructor(options: OnHostOptions) {
    this.#options = options;
  }

  get hasWork(): boolean {
    return this.#options.underlay.forwarded.hasWork;
  }

  /** Lets the host forward for these networks. */
  async provide(networks: readonly DesiredNetwork[]): Promise<void> {
    const { underlay, tenant } = this.#options;
    const subnets = networks.flatMap(({ settings }) => settings.subnets);
    const needed = families.filter((family) => subnets.some((subnet) => cidrFamily(subnet) === family));
    await underlay.uplinks.take(() => underlay.forwarded.provide(tenant, { families: needed, direct: [] }));
  }

  /** Whether the host routes nothing of the network's subnets itself. One that is not there yet waits until that is so. */
  async hasRoomFor({ settings: { name, tenant, subnets } }: DesiredNetwork): Promise<boolean> {
    const { underlay, problems, instance } = this.#options;
    const links = await underlay.socket.dump(listLinks());
    const own = new Set(
      links.flatMap((link) => (isOwnLink(link) && isAliasOf(instance, link.alias) ? [link.index] : [])),
    );
    const isOwn = ({ protocol, nexthops }: Route): boolean =>
      protocol === weftProtocol || nexthops.some(({ index }) => index !== undefined && own.has(index));
    const routes = await underlay.socket.dump(listRoutes());
    const object = { kind: "subnet", tenant, network: name };
    for (const subnet of subnets) {
      const route = routeInTheWay(subnet, routes, isOwn);
      if (route === undefined) continue;
      const devices = route.nexthops.flatMap(({ index }) => links.find((link) => link.index === index)?.name ?? []);
      problems.failed(object, inTheWay(name, route, devices));
      return false;
    }
    problems.cleared(object);
    return true;
  }

  /** The tenant has nothing on the host any more. */
  async takeOff(): Promise<void> {
    const { underlay, tenant } = this.#options;
    underlay.forwarded.forget(tenant);
    await underlay.uplinks.take(() => releaseForwarding(underlay));
  }
}

/** How its networks are protected. The filter of the router is the record that there is something of the tenant on the host. */
export function protectionOnHost(identity: UplinkIdentity, namespace: KernelNamespace): ProtectionPlan {
  const name = onHostTable(identity);
  const settingsOf = (networks: readonly DesiredNetwork[]) => networks.map(({ settings }) => settings);
  return {
    filters: [
      {
        family: "inet",
        name,
        table: (networks, tunnelPorts) =>
          onHostFilterTable(identity, settingsOf(networks), networks.flatMap(publishedOf), tunnelPorts),
      },
      {
        family: "bridge",
        name,
        table: (networks) => onHostHandedUpTable(identity, settingsOf(networks), networks.flatMap(portsOf)),
      },
    ],
    knowsPorts: true,
    ensureSettings: (devices) => ensureRoutingSettings(namespace, devices.filter(isRoutingDevice)),
  };
}

function portsOf({ locals }: DesiredNetwork): string[] {
  return Array.from(locals.keys(), endpointPortName);
}

function inTheWay(network: string, route: Route, devices: readonly string[]): WeftError {
  const what = route.type === routeType.local ? "has the address" : "routes";
  return new WeftError({
    code: "already-exists",
    attempted: `bring up network ${network} in the host's own namespace`,
    reason: `the host ${what} ${route.destination}${devices.length > 0 ? ` on ${devices.join(", ")}` : ""}`,
    hint: "give the network another subnet",
  });
}

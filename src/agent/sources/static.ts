import type { RemotePlace } from "../../dataplane/index.ts";
import type { Network } from "../../model/resources.ts";

const source = { name: "static" } as const;

/** Places that the network itself lists, of hosts with or without weft. What is behind them nobody says. */
export function staticPlaces({ vteps }: Pick<Network, "vteps">): readonly RemotePlace[] {
  return vteps.map((vtep) => ({ vtep, source }));
}

import { readFileSync, writeFileSync } from "node:fs";
import { WeftError } from "../base/errors.ts";
import type { NetworkNamespace } from "./namespace.ts";

/** A network setting below /proc/sys/net as seen from a namespace, for example `ipv6/conf/eth0/accept_ra`. `undefined`: this kernel has none. */
export function readNetworkSysctl(namespace: NetworkNamespace, key: string): string | undefined {
  return readInside(namespace, `/proc/sys/net/${key}`)?.trim();
}

/** A file below /proc/net as seen from a namespace. `undefined`: this kernel has none. */
export function readNetworkFile(namespace: NetworkNamespace, name: string): string | undefined {
  // /proc/net is that of the process's first thread.
  return readInside(namespace, `/proc/thread-self/net/${name}`);
}

function readInside(namespace: NetworkNamespace, path: string): string | undefined {
  return namespace.run(() => {
    try {
      return readFileSync(path, "utf8");
    } catch {
      return undefined;
    }
  });
}

export function writeNetworkSysctl(namespace: NetworkNamespace, key: string, value: string): void {
  namespace.run(() => {
    try {
      writeFileSync(`/proc/sys/net/${key}`, value);
    } catch (error) {
      throw new WeftError({
        code: "internal",
        attempted: `set sysctl net.${key.replaceAll("/", ".")} = ${value} in ${namespace.label}`,
        reason: (error as NodeJS.ErrnoException).code ?? String(error),
        cause: error,
      });
    }
  });
}

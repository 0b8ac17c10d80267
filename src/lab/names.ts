import { join } from "node:path";
import { WeftError } from "../base/errors.ts";

/** Everything that a lab makes is named after it, so that several labs stand side by side. */
export interface LabNames {
  readonly lab: string;
  readonly switch: string;
  readonly server: string;
  readonly directory: string;
  host(host: string): string;
  /** The instance of the host's agent, which its tenants' namespaces begin with. */
  instance(host: string): string;
  container(name: string): string;
  isOwn(namespace: string): boolean;
}

/**
 * Short, because it begins the agents' instance names, which have 16 characters at most. Not ending as a host does:
 * lab `bigh1` would share names with host h1 of lab `big`.
 */
const labPattern = /^(?!.*h[1-9][0-9]*$)[a-z][a-z0-9]{0,11}$/;

export function labNames(lab: string): LabNames {
  if (!labPattern.test(lab))
    throw new WeftError({
      code: "invalid-argument",
      attempted: "name a lab",
      reason: `found "${lab}"; allowed: 1 to 12 lower-case letters and digits, beginning with a letter and not ending like the name of a host (h1)`,
    });
  return {
    lab,
    switch: `${lab}-switch`,
    server: `${lab}-server`,
    directory: join("/var/lib/weft/lab", lab),
    host: (host) => `${lab}-${host}`,
    instance: (host) => `${lab}${host}`,
    container: (name) => `${lab}-c-${name}`,
    isOwn: (namespace) => namespace.startsWith(`${lab}-`) || new RegExp(`^${lab}h[1-9][0-9]*-`).test(namespace),
  };
}

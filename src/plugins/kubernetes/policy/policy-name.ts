import { createHash } from "node:crypto";

const longestName = 63;
const hashDigits = 12;

/** The name of a policy: what people know it by, as much of it as there is room for, and a hash of all that makes it differ from others. */
export function policyName(tenant: string, namespace: string, name: string, variant = ""): string {
  const hash = createHash("sha256")
    .update(JSON.stringify([tenant, namespace, name, variant]))
    .digest("hex");
  const words = `${namespace}-${name}`.replace(/[^a-z0-9-]/g, "-").slice(0, longestName - hashDigits - 1);
  return `${words.replace(/^-+|-+$/g, "")}-${hash.slice(0, hashDigits)}`;
}

import { createSocket } from "node:dgram";
import { once } from "node:events";
import { createServer } from "node:net";
import { messageOf, WeftError } from "../../base/errors.ts";
import { hasAnycastGateway } from "../../model/anycast-gateway.ts";
import { type PublishedPort, parsePublishedPort, publishedPortText } from "../../model/published-port.ts";
import type { Network } from "../../model/resources.ts";
import type { Attachment } from "../replica.ts";

/** As an operator gave them. Throws what is none, and what is there twice. */
export function parsePublished(texts: readonly string[], attempted: string): readonly PublishedPort[] {
  const published: PublishedPort[] = [];
  for (const text of texts) {
    const parsed = parsePublishedPort(text);
    if (!parsed.ok)
      throw new WeftError({
        code: "invalid-argument",
        attempted,
        reason: `published port ${JSON.stringify(text)} is none; allowed: ${parsed.error}`,
      });
    if (published.some((other) => isSamePort(other, parsed.value)))
      throw new WeftError({
        code: "invalid-argument",
        attempted,
        reason: `it publishes ${nameOf(parsed.value)} twice`,
      });
    published.push(parsed.value);
  }
  return published;
}

/** Throws where answers would find no way back, or another endpoint here has a port. `id`: whose ports these are to be. */
export function requirePublishable(
  published: readonly PublishedPort[],
  network: Network | undefined,
  id: string,
  attachments: Iterable<Attachment>,
  attempted: string,
): void {
  if (published.length === 0) return;
  if (network !== undefined && !hasAnycastGateway(network))
    throw new WeftError({
      code: "failed-precondition",
      attempted,
      reason: `nodes are no gateway of network ${network.name}, so that answers from published ports would find no way out`,
      hint: `let them be: weft network set ${network.name} --gateway distributed`,
    });
  for (const other of attachments) {
    const taken =
      other.id === id || other.state === "releasing"
        ? undefined
        : other.published?.find((theirs) => published.some((each) => isSamePort(each, theirs)));
    if (taken === undefined) continue;
    throw new WeftError({
      code: "already-exists",
      attempted,
      reason: `endpoint ${other.id} of network ${other.network} publishes ${nameOf(taken)} on this node`,
      hint: "publish it under another port",
    });
  }
}

/** Throws where a program of this host listens, or an address is not the host's: whoever asked there would be led elsewhere. */
export async function requireFree(published: readonly PublishedPort[], attempted: string): Promise<void> {
  for (const each of published) {
    const failure = await tryPort(each);
    if (failure === undefined) continue;
    const isTaken = failure.code === "EADDRINUSE";
    throw new WeftError({
      code: isTaken ? "already-exists" : "failed-precondition",
      attempted,
      reason: isTaken
        ? `a program of this host listens at ${nameOf(each)}`
        : `this host cannot have ${publishedPortText(each)}: ${messageOf(failure)}`,
      hint: isTaken ? `publish it under another port; find the program with: ss -lnp sport = :${each.port}` : "",
    });
  }
}

/** Whether no more than one of them can be: answers tell ports apart, and not the addresses that were asked. */
function isSamePort(one: PublishedPort, other: PublishedPort): boolean {
  return one.protocol === other.protocol && one.port === other.port;
}

function nameOf({ protocol, port }: PublishedPort): string {
  return `port ${port}/${protocol}`;
}

/** Listens there for a moment. Of SCTP nothing is known. */
async function tryPort({ protocol, address, port }: PublishedPort): Promise<NodeJS.ErrnoException | undefined> {
  if (protocol === "sctp") return undefined;
  for (const host of address === undefined ? ["::", "0.0.0.0"] : [address]) {
    const failure = await tryListening(protocol, host, port);
    // A kernel without IPv6 has IPv4.
    if (failure !== undefined && !(host === "::" && failure.code !== "EADDRINUSE")) return failure;
  }
  return undefined;
}

async function tryListening(
  protocol: "tcp" | "udp",
  host: string,
  port: number,
): Promise<NodeJS.ErrnoException | undefined> {
  const isIpv6 = host.includes(":");
  const listener =
    protocol === "tcp"
      ? createServer().listen({ host, port, exclusive: true, ipv6Only: isIpv6 })
      : (isIpv6 ? createSocket({ type: "udp6", ipv6Only: true }) : createSocket("udp4")).bind({
          address: host,
          port,
          exclusive: true,
        });
  try {
    await once(listener, "listening");
    return undefined;
  } catch (error) {
    return error as NodeJS.ErrnoException;
  } finally {
    listener.close();
  }
}

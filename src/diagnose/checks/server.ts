import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import type { Duration } from "../../base/duration.ts";
import { formatDuration, hours } from "../../base/duration.ts";
import type { Check } from "../subject.ts";

/** A certificate that has less than this part of its life left should have been renewed long ago. */
const renewedBy = 0.2;

const connectionCheck: Check = {
  name: "the connection to the server",
  async *run({ server }) {
    if (server.isConnected) return;
    const { hostname } = new URL(server.url);
    const host = hostname.replace(/^\[|\]$/g, "");
    if (isIP(host) === 0) {
      const failure = await lookup(host).then(
        () => undefined,
        (error: NodeJS.ErrnoException) => error.code ?? error.message,
      );
      if (failure !== undefined) {
        const object = { kind: "name of the server", key: host };
        const cure = `see /etc/resolv.conf and what the resolver says: getent hosts ${host}`;
        yield { code: "server-name-unresolved", object, expected: "an address", found: failure, cure };
        return;
      }
    }
    yield {
      code: "server-unreachable",
      object: { kind: "server", key: server.url },
      expected: "connected",
      found: server.error === "" ? "not connected yet" : server.error,
    };
  },
};

const certificateCheck: Check = {
  name: "the certificate of this node",
  *run({ certificate, clock, node }) {
    const now = clock.now();
    const object = { kind: "certificate of node", key: node };
    const expected = `valid from ${timeText(certificate.from)} to ${timeText(certificate.until)}`;
    const left = certificate.until - now;
    if (left <= 0 || now < certificate.from)
      yield { code: "certificate-expired", object, expected, found: `this host's clock says ${timeText(now)}` };
    else if (left < (certificate.until - certificate.from) * renewedBy)
      yield {
        code: "certificate-expiring",
        object,
        expected: "renewed by now",
        found: `it ends in ${formatDuration(Math.max(left, hours(0)) as Duration)}`,
      };
  },
};

function timeText(time: number): string {
  return new Date(time).toISOString();
}

export const serverChecks: readonly Check[] = [connectionCheck, certificateCheck];

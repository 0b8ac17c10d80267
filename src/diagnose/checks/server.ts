import { lookup } from "node:dns/promises";
import { request } from "node:https";
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

/** Milliseconds that the clocks of two hosts may differ by: certificates, events and leases bear more, people do not. */
const toleratedSkew = 10_000;

const clockCheck: Check = {
  name: "the clock of this host",
  async *run({ server, clock }) {
    const asked = clock.now();
    const there = await timeOf(server.url);
    const skew = there === undefined ? 0 : asked - there;
    if (Math.abs(skew) < toleratedSkew) return;
    yield {
      code: "clock-skew",
      object: { kind: "clock" },
      expected: `within ${toleratedSkew / 1_000} s of the server's`,
      found: `${formatDuration(Math.abs(skew) as Duration)} ${skew > 0 ? "ahead of" : "behind"} it`,
    };
  },
};

const dateTimeout = 3_000;

/**
 * What the server's clock says, to the second; `undefined`: it does not answer. With a clock that is wrong here its certificate is
 * none that is valid: nothing but this is asked, and nothing done by the answer.
 */
function timeOf(url: string): Promise<number | undefined> {
  return new Promise((resolve) => {
    const asked = request(url, { method: "HEAD", rejectUnauthorized: false, timeout: dateTimeout, agent: false });
    asked.on("response", ({ headers }) => {
      const time = Date.parse(headers.date ?? "");
      resolve(Number.isNaN(time) ? undefined : time);
      asked.destroy();
    });
    asked.on("timeout", () => asked.destroy());
    asked.on("error", () => resolve(undefined));
    asked.on("close", () => resolve(undefined));
    asked.end();
  });
}

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

export const serverChecks: readonly Check[] = [connectionCheck, clockCheck, certificateCheck];

import {
  Code,
  type ConnectRouter,
  createContextKey,
  type HandlerContext,
  type Interceptor,
  type ServiceImpl,
} from "@connectrpc/connect";
import { endpointToMessage, networkStateToMessage, nodeToMessage } from "../api/convert.ts";
import { toConnectError } from "../api/errors.ts";
import { NodeService } from "../api/generated/weft/v1/node_pb.js";
import type { Clock } from "../base/clock.ts";
import { milliseconds } from "../base/duration.ts";
import { messageOf, WeftError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import type { Result } from "../base/result.ts";
import { type FieldProblem, formatProblem } from "../model/problem.ts";
import { parseEndpointDraft, parseLearnedAddress, parseNodeDraft } from "../model/schema.ts";
import type { Endpoints } from "./endpoints.ts";
import type { Identities } from "./identities.ts";
import { expiredError, type PeerCertificate, requireValid } from "./identity/node-identity.ts";
import type { Learned } from "./learned.ts";
import type { Ledger } from "./ledger.ts";
import type { Metrics } from "./metrics.ts";
import type { Nodes } from "./nodes.ts";
import { readinessService } from "./readiness-service.ts";

/** What a node may send in one request, at most. */
const limits = { deletedIds: 10_000, watchedNetworks: 10_000, labels: 64, learnedAddresses: 1_000 } as const;

/** The certificate that the connection of a request proved. */
export const peerKey = createContextKey<PeerCertificate | undefined>(undefined);

/** What the services act on. */
export interface Control {
  readonly ledger: Ledger;
  readonly identities: Identities;
  readonly endpoints: Endpoints;
  readonly learned: Learned;
  readonly nodes: Nodes;
}

/** The API for nodes. Who calls is known from the certificate alone, never from a message. */
export function nodeRoutes(router: ConnectRouter, control: Control): void {
  const { ledger, identities, endpoints, learned, nodes } = control;
  const caller = (context: HandlerContext, attempted: string): PeerCertificate =>
    requireValid(context.values.get(peerKey), attempted, ledger.clock);
  const service: ServiceImpl<typeof NodeService> = {
    join: (request) => identities.join(request.token, request.node, request.certificateRequest),

    async renewCertificate(request, context) {
      const peer = context.values.get(peerKey);
      // An expired certificate may still be renewed for a while: a valid one is not asked for here.
      return identities.renew(
        peer ?? requireValid(peer, "renew a certificate", ledger.clock),
        request.certificateRequest,
      );
    },

    async register(request, context) {
      const attempted = "register a node";
      const { name } = caller(context, attempted);
      const { vtepIpv4, vtepIpv6, underlayMtu, labels } = request;
      requireAtMost(limits.labels, Object.keys(labels).length, "labels", attempted);
      const vtepAddresses = {
        ...(vtepIpv4 === "" ? {} : { ipv4: vtepIpv4 }),
        ...(vtepIpv6 === "" ? {} : { ipv6: vtepIpv6 }),
      };
      const draft = valid(parseNodeDraft({ name, vtepAddresses, underlayMtu, labels }), `register node ${name}`);
      return { node: nodeToMessage(await nodes.register(caller(context, attempted), draft)) };
    },

    async createEndpoint(request, context) {
      const attempted = "create an endpoint";
      const peer = caller(context, attempted);
      const { id, network, attachment, mac, ips } = request;
      const draft = valid(
        parseEndpointDraft({
          id,
          network,
          ...(attachment === "" ? {} : { attachment }),
          ...(mac === "" ? {} : { mac }),
          ips,
        }),
        attempted,
      );
      const { endpoint, entry, revision } = await endpoints.create(peer, draft);
      return {
        endpoint: endpointToMessage(endpoint),
        network: networkStateToMessage(entry),
        revision: BigInt(revision),
      };
    },

    async deleteEndpoints(request, context) {
      const attempted = "delete endpoints";
      const peer = caller(context, attempted);
      requireAtMost(limits.deletedIds, request.ids.length, "ids", attempted);
      return { revision: BigInt(await endpoints.release(peer, request.ids)) };
    },

    async publishLearned(request, context) {
      const attempted = "publish learnt addresses";
      const peer = caller(context, attempted);
      requireAtMost(limits.learnedAddresses, request.addresses.length, "addresses", attempted);
      const addresses = request.addresses.map(({ id, mac, ips }, index) =>
        valid(parseLearnedAddress({ id, mac, ips }), `${attempted}, number ${index}`),
      );
      const { outcomes, revision } = await learned.publish(peer, request.network, addresses);
      return {
        outcomes: outcomes.map(({ endpoint, reason, retryAfter }) => ({
          ...(endpoint === undefined ? {} : { endpoint: endpointToMessage(endpoint) }),
          reason,
          retryAfter: Math.ceil(retryAfter),
        })),
        revision: BigInt(revision),
      };
    },

    ...readinessService(control, caller),

    async *watch(request, context) {
      const attempted = "watch the networks of a node";
      const peer = caller(context, attempted);
      identities.requireCurrent(peer, attempted);
      requireAtMost(limits.watchedNetworks, request.networks.length, "networks", attempted);
      const watcher = ledger.fanout.open(peer, request);
      ledger.readiness.connected(peer.name, request.reports);
      ledger.logger.info({ node: peer.name, revision: Number(request.revision) }, "node connected");
      const onAbort = (): void => watcher.end("done");
      context.signal.addEventListener("abort", onAbort);
      const remaining = milliseconds(Math.max(0, peer.expires - ledger.clock.now()));
      const cancelExpiry = ledger.clock.after(remaining, () => watcher.end(expiredError(peer, attempted)));
      try {
        yield* watcher.messages();
      } finally {
        cancelExpiry();
        context.signal.removeEventListener("abort", onAbort);
        ledger.fanout.close(watcher);
        ledger.readiness.disconnected(peer.name);
        ledger.logger.info({ node: peer.name }, "node disconnected");
      }
    },
  };
  router.service(NodeService, service);
}

function requireAtMost(limit: number, count: number, what: string, attempted: string): void {
  if (count <= limit) return;
  const reason = `${count} ${what} in one request are more than ${limit}`;
  throw new WeftError({ code: "invalid-argument", attempted, reason });
}

/** The value, or an error that names each field that is not as it must be. */
export function valid<Value>(result: Result<Value, FieldProblem[]>, attempted: string): Value {
  if (result.ok) return result.value;
  throw new WeftError({
    code: "invalid-argument",
    attempted,
    reason: result.error.map(formatProblem).join("; "),
  });
}

/** Sends errors in the API's form, measures requests, and logs what should not have happened. */
export function observe(options: {
  readonly metrics: Metrics;
  readonly logger: Logger;
  readonly clock: Clock;
}): Interceptor {
  const { metrics, logger, clock } = options;
  return (next) => async (request) => {
    const method = request.method.name;
    const started = clock.monotonic();
    const failed = (thrown: unknown): never => {
      const error = toConnectError(thrown);
      if (error.code === Code.Internal || error.code === Code.Unknown)
        logger.error({ method, error: thrown instanceof Error ? thrown.stack : messageOf(thrown) }, "request failed");
      else logger.debug({ method, error: error.rawMessage }, "request refused");
      metrics.observeRequest(method, Code[error.code], (clock.monotonic() - started) / 1_000);
      throw error;
    };
    const response = await next(request).catch(failed);
    if (response.stream) return { ...response, message: withConnectErrors(response.message) };
    metrics.observeRequest(method, "ok", (clock.monotonic() - started) / 1_000);
    return response;
  };
}

async function* withConnectErrors<Message>(messages: AsyncIterable<Message>): AsyncIterable<Message> {
  try {
    yield* messages;
  } catch (error) {
    throw toConnectError(error);
  }
}

import { toBinary } from "@bufbuild/protobuf";
import {
  Code,
  ConnectError,
  type ConnectRouter,
  createContextKey,
  type HandlerContext,
  type Interceptor,
  type ServiceImpl,
} from "@connectrpc/connect";
import { networkState } from "../api/convert.ts";
import { toConnectError } from "../api/errors.ts";
import { NodeService } from "../api/generated/weft/v1/node_pb.js";
import { PortSchema } from "../api/generated/weft/v1/resources_pb.js";
import { kinds, offeredPort } from "../api/kinds.ts";
import { atMoment, type Clock } from "../base/clock.ts";
import { messageOf, WeftError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import type { Result } from "../base/result.ts";
import { isAttachmentKind } from "../model/attachment-kind.ts";
import { type FieldProblem, formatProblem } from "../model/problem.ts";
import { parseEndpointDraft, parseLearnedAddress, parseNodeDraft } from "../model/schema.ts";
import type { Connection } from "./connection.ts";
import type { Claim, Conversations } from "./conversations.ts";
import type { Endpoints } from "./endpoints.ts";
import type { Identities } from "./identities.ts";
import { expiredError, type PeerCertificate, requireValid } from "./identity/node-identity.ts";
import type { Learned } from "./learned.ts";
import type { Ledger } from "./ledger.ts";
import type { Metrics } from "./metrics.ts";
import type { Migrations } from "./migrations.ts";
import type { Nodes } from "./nodes.ts";
import type { Questions } from "./questions.ts";
import { readinessService } from "./readiness-service.ts";

/** What a node may send in one request, at most. */
const limits = {
  deletedIds: 10_000,
  watchedNetworks: 10_000,
  /** Those of the networks, at most. */
  watchedTenants: 10_000,
  learnedAddresses: 1_000,
  incarnation: 32,
  /** Characters that are kept of why a node could not do something. */
  reason: 500,
  portOctets: 16_384,
} as const;

const noOctets = new Uint8Array();

/** The certificate that the connection of a request proved. */
export const peerKey = createContextKey<PeerCertificate | undefined>(undefined);

/** The connection of a request. */
export const connectionKey = createContextKey<Connection | undefined>(undefined);

/** What the services act on. */
export interface Control {
  readonly ledger: Ledger;
  readonly identities: Identities;
  readonly conversations: Conversations;
  readonly endpoints: Endpoints;
  readonly learned: Learned;
  readonly migrations: Migrations;
  readonly nodes: Nodes;
  readonly questions: Questions;
}

/** The API for nodes. Who calls is known from the certificate alone, never from a message. */
export function nodeRoutes(router: ConnectRouter, control: Control): void {
  const { ledger, identities, conversations, endpoints, learned, migrations, nodes, questions } = control;
  const caller = (context: HandlerContext, attempted: string): PeerCertificate =>
    requireValid(context.values.get(peerKey), attempted, ledger.clock);
  const claimOf = (
    peer: PeerCertificate,
    context: HandlerContext,
    { incarnation, wasRefused }: { readonly incarnation: Uint8Array; readonly wasRefused: boolean },
  ): Claim => ({ node: peer, incarnation, wasRefused, connection: context.values.get(connectionKey) as Connection });
  /** Who calls, if no other agent speaks as its node. */
  const writer = (context: HandlerContext, attempted: string): PeerCertificate => {
    const peer = caller(context, attempted);
    identities.requireCurrent(peer, attempted);
    conversations.requireHolder(claimOf(peer, context, { incarnation: noOctets, wasRefused: false }), attempted);
    return peer;
  };
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
      const peer = caller(context, attempted);
      const { name } = peer;
      const { vtepIpv4, vtepIpv6, underlayMtu } = request;
      requireAtMost(limits.incarnation, request.incarnation.length, "octets of an incarnation", attempted);
      const vtepAddresses = {
        ...(vtepIpv4 === "" ? {} : { ipv4: vtepIpv4 }),
        ...(vtepIpv6 === "" ? {} : { ipv6: vtepIpv6 }),
      };
      const draft = valid(
        parseNodeDraft({ name, vtepAddresses, underlayMtu }),
        `register node ${name}`,
        "give the agent an address of the underlay by --underlay",
      );
      identities.requireCurrent(peer, attempted);
      await conversations.admit(claimOf(peer, context, request), `register node ${name}`);
      const source = context.values.get(connectionKey)?.source;
      return { node: kinds.node.toMessage(await nodes.register(caller(context, attempted), draft, source)) };
    },

    async createEndpoint(request, context) {
      const attempted = "create an endpoint";
      const peer = writer(context, attempted);
      const { id, network, attachment, mac, ips, labels, movable } = request;
      const draft = valid(
        parseEndpointDraft({
          id,
          network,
          ...(attachment === "" ? {} : { attachment }),
          ...(mac === "" ? {} : { mac }),
          ips,
          labels,
          movable,
        }),
        attempted,
      );
      const { endpoint, entry, revision } = await endpoints.create(peer, draft);
      return {
        endpoint: kinds.endpoint.toMessage(endpoint),
        network: networkState.toMessage(entry),
        revision: BigInt(revision),
      };
    },

    async deleteEndpoints(request, context) {
      const attempted = "delete endpoints";
      const peer = writer(context, attempted);
      requireAtMost(limits.deletedIds, request.ids.length, "ids", attempted);
      await migrations.leave(peer, request.ids);
      const left = await migrations.handOver(peer, request.ids);
      return { revision: BigInt(await endpoints.release(peer, left)) };
    },

    async prepareEndpoint(request, context) {
      const peer = writer(context, "make ready to take over an endpoint");
      const { endpoint, revision } = await migrations.prepare(peer, request.network, request.endpoint);
      return { endpoint: kinds.endpoint.toMessage(endpoint), revision: BigInt(revision) };
    },

    async offerPort({ id, port, reason }, context) {
      const peer = writer(context, "offer the port of an endpoint");
      const octets = port === undefined ? 0 : toBinary(PortSchema, port).length;
      requireAtMost(limits.portOctets, octets, "octets of a port", "offer the port of an endpoint");
      const offered = port === undefined ? undefined : offeredPort(port);
      await migrations.offer(peer, id, offered, reason.slice(0, limits.reason));
      return {};
    },

    async awaitStandby({ id }, context) {
      await migrations.awaitStandby(writer(context, "stand by for an endpoint"), id);
      return {};
    },

    async takeOverEndpoint({ id, attachment }, context) {
      const attempted = "take over an endpoint";
      const peer = writer(context, attempted);
      if (!isAttachmentKind(attachment) || attachment === "learned")
        throw new WeftError({ code: "invalid-argument", attempted, reason: `unknown attachment "${attachment}"` });
      return { revision: BigInt(await migrations.takeOver(peer, id, attachment)) };
    },

    async declineEndpoint({ id, reason }, context) {
      await migrations.decline(writer(context, "decline an endpoint"), id, reason.slice(0, limits.reason));
      return {};
    },

    async setLabels({ id, labels }, context) {
      const peer = writer(context, "set labels of an endpoint");
      return { revision: BigInt((await endpoints.setOwnLabels(peer, id, labels)).revision) };
    },

    async publishLearned(request, context) {
      const attempted = "publish learned addresses";
      const peer = writer(context, attempted);
      requireAtMost(limits.learnedAddresses, request.addresses.length, "addresses", attempted);
      const addresses = request.addresses.map(({ id, mac, ips }, index) =>
        valid(parseLearnedAddress({ id, mac, ips }), `${attempted}, number ${index}`),
      );
      const { outcomes, revision } = await learned.publish(peer, request.network, addresses);
      return {
        outcomes: outcomes.map(({ endpoint, reason, retryAfter }) => ({
          ...(endpoint === undefined ? {} : { endpoint: kinds.endpoint.toMessage(endpoint) }),
          reason,
          retryAfter: Math.ceil(retryAfter),
        })),
        revision: BigInt(revision),
      };
    },

    getNetworkPart({ network }, context) {
      const attempted = `get a part of network ${network}`;
      const peer = writer(context, attempted);
      const part = ledger.fanout.nextPart(peer.name, network);
      if (part !== undefined) return { changes: [...part.changes], complete: part.complete };
      throw new WeftError({
        code: "failed-precondition",
        attempted,
        reason: `the watch of node ${peer.name} announces no such network`,
        hint: "watch again",
      });
    },

    ...readinessService(ledger, writer),

    async askNode({ node, question }, context) {
      const attempted = "ask another node";
      const peer = writer(context, attempted);
      if (question === undefined)
        throw new WeftError({ code: "invalid-argument", attempted, reason: "the question is missing" });
      return questions.askAsNode(peer.name, node, question);
    },

    answerQuestion({ id, answer }, context) {
      const peer = writer(context, "answer a question");
      if (answer !== undefined) questions.answer(peer.name, id, answer);
      return {};
    },

    async *watch(request, context) {
      const attempted = "watch the networks of a node";
      const peer = caller(context, attempted);
      identities.requireCurrent(peer, attempted);
      requireAtMost(limits.watchedNetworks, request.networks.length, "networks", attempted);
      requireAtMost(limits.watchedTenants, request.policyTenants.length, "tenants with policies", attempted);
      requireAtMost(limits.incarnation, request.incarnation.length, "octets of an incarnation", attempted);
      await conversations.admit(claimOf(peer, context, request), `watch as node ${peer.name}`);
      // It may have been deleted meanwhile, and only those that watch are told.
      identities.requireCurrent(peer, attempted);
      const watcher = ledger.fanout.open(peer, request, context.values.get(connectionKey)?.source);
      ledger.readiness.connected(peer.name, request.reports);
      ledger.logger.info({ node: peer.name, revision: Number(request.revision) }, "node connected");
      const onAbort = (): void => watcher.end("done");
      context.signal.addEventListener("abort", onAbort);
      const cancelExpiry = atMoment(ledger.clock, peer.expires, () => watcher.end(expiredError(peer, attempted)));
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
export function valid<Value>(result: Result<Value, FieldProblem[]>, attempted: string, hint?: string): Value {
  if (result.ok) return result.value;
  throw new WeftError({
    code: "invalid-argument",
    attempted,
    reason: result.error.map(formatProblem).join("; "),
    ...(hint === undefined ? {} : { hint }),
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
      else if (thrown instanceof ConnectError && thrown !== error)
        logger.info({ method, error: error.rawMessage }, "malformed request refused");
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

import type { ConnectRouter, ServiceImpl } from "@connectrpc/connect";
import { nodeSettings } from "../api/convert.ts";
import {
  AdminService,
  type ListRequest,
  type Resource,
  type SetNodeRequest,
} from "../api/generated/weft/v1/admin_pb.js";
import { asCase, kindOfCase, kinds, standbyPlace } from "../api/kinds.ts";
import { compareCidr } from "../base/cidr.ts";
import { hours, milliseconds } from "../base/duration.ts";
import { WeftError } from "../base/errors.ts";
import { journeyToMessage, wishFromMessage } from "../diagnose/trace/messages.ts";
import { trace } from "../diagnose/trace/trace.ts";
import {
  declarable,
  isDeclared,
  type PlainKind,
  type ResourceKind,
  type Resources,
  resourceKinds,
  undeclarable,
} from "../model/kinds.ts";
import { parseNodeName, partsOfPeer } from "../model/names.ts";
import { peeringObstacle } from "../model/peering.ts";
import type { Endpoint, Node, NodeSettings } from "../model/resources.ts";
import { parseNodeSettings } from "../model/schema.ts";
import type { Administration, Declaration } from "./administration.ts";
import { askNodes } from "./asked-nodes.ts";
import { explainPolicy } from "./explain-policy.ts";
import type { NodeSettingsChange } from "./nodes.ts";
import { readinessToMessage, waitFor } from "./readiness-service.ts";
import { missingOn } from "./selection.ts";
import { type Control, valid } from "./services.ts";
import type { NetworkEntry, State, Versioned } from "./state.ts";
import { askAsAdministrator, traceDirectory } from "./trace.ts";

const defaultTokenLifetime = hours(1);

/** The API for administrators. Who reaches it may do everything: it is served on a socket of root's alone. */
export function adminRoutes(
  router: ConnectRouter,
  control: Control & { readonly administration: Administration; readonly version: string },
): void {
  const { ledger, identities, administration, migrations, questions } = control;
  const { state, clock } = ledger;
  const started = clock.monotonic();
  const service: ServiceImpl<typeof AdminService> = {
    async create(request) {
      const { outcomes, revision } = await administration.create(request.resources.map(declarationOf));
      return {
        resources: outcomes.map(({ kind, value }) => ({ resource: asCase(kind, value) })),
        revision: BigInt(revision),
      };
    },

    async apply(request) {
      const { outcomes, revision } = await administration.apply(request.resources.map(declarationOf), request.dryRun);
      const results = outcomes.map(({ kind, value: { name }, outcome, differences }) => ({
        resource: { kind, name },
        outcome,
        differences: [...differences],
      }));
      return { results, revision: BigInt(revision) };
    },

    async *examineNodes({ nodes, request }) {
      const asked = nodes.length > 0 ? nodes : [...state.nodes.keys()].sort();
      const question = { question: { case: "examine" as const, value: request ?? {} } };
      for await (const { node, failure, findings, version } of askNodes(asked, questions, question))
        yield { node, failure, findings, version };
    },

    async *listNodeEvents({ request }) {
      const asked = [...state.nodes.keys()].sort();
      const question = { question: { case: "events" as const, value: request ?? {} } };
      for await (const { node, failure, events } of askNodes(asked, questions, question))
        yield { node, failure, events };
    },

    async trace(request) {
      const journeys = await trace(wishFromMessage(request), traceDirectory(state), askAsAdministrator(questions));
      return { journeys: journeys.map(journeyToMessage) };
    },

    list(request) {
      const wanted = wantedKinds(request);
      const resources = wanted.flatMap((kind) =>
        listOf(kind, state, request).map((value) => ({ resource: asCase(kind, value) })),
      );
      const settings = wanted.includes("node") ? settingsOf(control, request.name) : [];
      if (request.name !== "" && resources.length === 0 && settings.length === 0)
        throw new WeftError({
          code: "not-found",
          attempted: `show ${request.kind || "resource"} ${request.name}`,
          reason: "there is none of this name",
          hint: request.kind === "" ? "see the spelling" : `list what there is with: weft ${request.kind} list`,
        });
      const contacts = resources.flatMap(({ resource }) => {
        if (resource.case !== "node") return [];
        const { connected, lastSeen } = ledger.fanout.contactOf(resource.value.name);
        const { networks, behind } = ledger.readiness.countsOf(resource.value.name);
        const { address, refused } = control.conversations.of(resource.value.name);
        return [
          {
            node: resource.value.name,
            connected,
            networks,
            networksBehind: behind,
            lastSeen: BigInt(lastSeen),
            address,
            refusedAddress: refused?.address ?? "",
            refusedAt: BigInt(refused?.at ?? 0),
          },
        ];
      });
      const [only] = resources;
      const name = request.name !== "" && only?.resource.case === "network" ? only.resource.value.name : "";
      const blocks = [...(state.networks.get(name)?.ownedBlocks() ?? [])].sort((a, b) => compareCidr(a.cidr, b.cidr));
      const entry = state.networks.get(name);
      return {
        resources,
        revision: BigInt(state.revision),
        contacts,
        blocks: blocks.map(kinds.block.toMessage),
        nodeSettings: settings,
        ...hostingOf(control, request, name),
        frozen:
          request.name !== "" && only?.resource.case === "endpoint"
            ? frozenOf(state.endpoints.get(request.name), control)
            : [],
        ...(entry === undefined ? {} : { readiness: readinessToMessage(ledger, entry), peers: peersOf(state, entry) }),
      };
    },

    async setNode(request) {
      const { name, change } = nodeChangeOf(request);
      const { settings, revision } = await administration.setNode(name, change);
      return { settings: nodeSettings.toMessage({ name, ...settings }), revision: BigInt(revision) };
    },

    async failNode({ name }) {
      const { revision, ...counts } = await control.nodes.fail(name);
      return { ...counts, revision: BigInt(revision) };
    },

    async setEndpoint({ id, labels, removedLabels }) {
      const { endpoint, revision } = await administration.setEndpoint(id, { labels, removedLabels });
      return { endpoint: kinds.endpoint.toMessage(endpoint), revision: BigInt(revision) };
    },

    async migrateEndpoint({ endpoint: name, network, node, place, onAnnouncement }, context) {
      const request = { name, network, node, place: place === undefined ? undefined : standbyPlace(place) };
      const { endpoint, formerNode, revision } = await (onAnnouncement
        ? migrations.admit(request)
        : migrations.migrate(request, context.signal));
      return { endpoint: kinds.endpoint.toMessage(endpoint), formerNode, revision: BigInt(revision) };
    },

    unfreezeEndpoint({ id }) {
      return { frozen: control.learned.unfreeze(id).map(frozenMessage) };
    },

    async cancelMigration({ endpoint: name, network }) {
      const { endpoint, node = "" } = await migrations.cancel(name, network);
      return { endpoint: kinds.endpoint.toMessage(endpoint), node };
    },

    explainPolicy(request) {
      return explainPolicy(state, request);
    },

    async delete(request) {
      const references = request.resources.map(({ kind, name }) => ({ kind: requireKind(kind, "delete"), name }));
      return { revision: BigInt(await administration.delete(references)) };
    },

    async createToken(request) {
      const lifetime = request.lifetime === 0n ? defaultTokenLifetime : milliseconds(Number(request.lifetime));
      const { token, expires } = await identities.createToken(lifetime);
      return { token, expires: BigInt(expires) };
    },

    waitInPlace(request, context) {
      const unknown = request.networks.find((name) => !state.networks.has(name));
      if (unknown !== undefined)
        throw new WeftError({
          code: "not-found",
          attempted: "wait for what is in place",
          reason: `there is no network ${unknown}`,
          hint: "list the networks with: weft network list",
        });
      return waitFor(ledger, request, context.signal);
    },

    getStatus() {
      return {
        version: control.version,
        revision: BigInt(state.revision),
        compactedRevision: BigInt(ledger.compactedRevision),
        tenants: state.tenants.size,
        networks: state.networks.size,
        nodes: state.nodes.size,
        nodesConnected: ledger.fanout.connected,
        endpoints: state.endpoints.size,
        uptime: BigInt(Math.round(clock.monotonic() - started)),
      };
    },
  };
  router.service(AdminService, service);
}

/** What there is of a kind, of what was asked for, ordered by name. */
function listOf(kind: ResourceKind, state: State, request: ListRequest): readonly Resources[ResourceKind][] {
  if (kind === "endpoint") return endpointsOf(state, request);
  const held: Iterable<NetworkEntry | Versioned<Node | Resources[PlainKind]>> = (
    kind === "network" ? state.networks : kind === "node" ? state.nodes : state.plain[kind]
  ).values();
  const values = Array.from(held, (each) => ("network" in each ? each.network : each.value));
  const found = values.filter(({ name }) => request.name === "" || name === request.name);
  return found.sort((a, b) => (a.name < b.name ? -1 : 1));
}

function frozenOf(endpoint: Endpoint | undefined, { learned }: Control) {
  return endpoint === undefined ? [] : learned.frozenOf(endpoint).map(frozenMessage);
}

function frozenMessage({ address, duration }: { readonly address: string; readonly duration: number }) {
  return { address, duration: BigInt(Math.ceil(duration)) };
}

function wantedKinds(request: ListRequest): readonly ResourceKind[] {
  if (request.kind !== "") return [requireKind(request.kind, "list")];
  return resourceKinds.filter((kind) => kind !== "endpoint" && kind !== "pod");
}

function requireKind(kind: string, verb: string): ResourceKind {
  const known = resourceKinds.find((other) => other === kind);
  if (known !== undefined) return known;
  throw new WeftError({
    code: "invalid-argument",
    attempted: `${verb} ${JSON.stringify(kind)}`,
    reason: `there is no such kind of resource; allowed: ${resourceKinds.join(", ")}`,
  });
}

/** Of one network who hosts it and who sets its MTU, of one node what it hosts; `network` is the one asked for, if it is one. */
function hostingOf({ ledger: { state } }: Control, request: ListRequest, network: string) {
  const entry = state.networks.get(network);
  if (entry !== undefined)
    return {
      hosts: [...entry.hosts.keys()].sort().map((node) => hostOf(state, entry, node)),
      effectiveMtu: entry.effectiveMtu,
      mtuNode: smallestMtu(state.nodesOf(entry.network)),
    };
  if (request.name === "" || request.kind !== "node") return {};
  const hosted = [...(state.hosted.get(request.name) ?? [])].map((each) => hostOf(state, each, request.name));
  return { hosted: hosted.sort((a, b) => (a.network < b.network ? -1 : 1)) };
}

function peersOf({ networks }: State, { network }: NetworkEntry) {
  return network.peers.map((peer) => {
    const named = partsOfPeer(peer);
    return { ...named, obstacle: peeringObstacle(network, peer, networks.get(named.network)?.network) ?? "" };
  });
}

function hostOf(state: State, entry: NetworkEntry, node: string) {
  const host = entry.hosts.get(node);
  return {
    network: entry.network.name,
    node,
    endpoints: host?.endpoints.size ?? 0,
    blocks: host?.blocks ?? 0,
    missingLabels: missingOn(state, entry.network, node).map(({ label, value }) => `${label}=${value}`),
  };
}

function smallestMtu(nodes: Iterable<Node>): string {
  const [first] = [...nodes].sort((a, b) => a.underlayMtu - b.underlayMtu || (a.name < b.name ? -1 : 1));
  return first?.name ?? "";
}

/** Of all nodes, or of one: those that have joined and have none among them. */
function settingsOf({ ledger: { state } }: Control, name: string) {
  const none: NodeSettings = { labels: {}, approved: {} };
  return [...new Set([...state.nodes.keys(), ...state.nodeSettings.keys()])]
    .filter((node) => name === "" || node === name)
    .sort()
    .map((name) => nodeSettings.toMessage({ name, ...(state.nodeSettings.get(name)?.value ?? none) }));
}

/** What an administrator says of a node, checked field by field. */
function nodeChangeOf({ name, labels, removedLabels, approved, drained, blocks }: SetNodeRequest) {
  const attempted = `set node ${JSON.stringify(name.slice(0, 80))}`;
  const node = parseNodeName(name);
  if (!node.ok) throw new WeftError({ code: "invalid-argument", attempted, reason: `the name is not ${node.error}` });
  const vteps = Object.entries({ ipv4: approved?.ipv4 ?? "", ipv6: approved?.ipv6 ?? "" });
  const settings = valid(
    parseNodeSettings({
      labels,
      approved: Object.fromEntries(vteps.filter(([, address]) => address !== "")),
      blocks: blocks?.prefixes ?? [],
    }),
    attempted,
  );
  const change: NodeSettingsChange = {
    labels: settings.labels,
    removedLabels,
    ...(approved === undefined ? {} : { approved: settings.approved }),
    ...(drained === undefined ? {} : { drained }),
    ...(blocks === undefined ? {} : { blocks: settings.blocks ?? [] }),
  };
  return { name, change };
}

/** The endpoints asked for, ordered by network and id. */
function endpointsOf(state: State, request: ListRequest): Endpoint[] {
  if (request.network !== "" && !state.networks.has(request.network))
    throw new WeftError({
      code: "not-found",
      attempted: `list the endpoints of network ${request.network}`,
      reason: "there is no such network",
      hint: "list the networks with: weft network list",
    });
  const of =
    request.network === "" ? state.endpoints.values() : (state.networks.get(request.network)?.endpoints() ?? []);
  const found: Endpoint[] = [];
  for (const endpoint of of)
    if (
      (request.node === "" || endpoint.node === request.node) &&
      (request.name === "" || endpoint.id === request.name)
    )
      found.push(endpoint);
  const rank = (endpoint: Endpoint): string => `${endpoint.network}/${endpoint.id}`;
  return found.sort((a, b) => (rank(a) < rank(b) ? -1 : 1));
}

/** What an administrator declares, checked field by field. */
function declarationOf({ resource }: Resource): Declaration {
  const { case: named, value } = resource;
  if (named === undefined)
    throw new WeftError({ code: "invalid-argument", attempted: "declare a resource", reason: "it has no kind" });
  const kind = kindOfCase(named);
  const attempted = `declare ${kind} ${"name" in value ? value.name : value.id}`;
  if (!isDeclared(kind)) throw new WeftError({ code: "invalid-argument", attempted, reason: undeclarable[kind] });
  const fields = kinds[kind].fieldsOf(value as never);
  return { kind, value: valid<unknown>(declarable[kind](fields), attempted) } as Declaration;
}

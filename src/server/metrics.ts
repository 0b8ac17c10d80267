import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import type { Conversations } from "./conversations.ts";
import type { Ledger } from "./ledger.ts";
import type { Readiness } from "./readiness.ts";

/** What the server tells of itself, in the text format of Prometheus. */
export class Metrics {
  readonly #registry = new Registry();
  readonly #durations: Histogram<"method" | "code">;
  readonly #readiness: Readiness;
  /** As of the scrape under way: a look at each network on each of its nodes. */
  #totals: ReturnType<Readiness["totals"]>;

  constructor(ledger: Ledger, conversations: Conversations) {
    const registers = [this.#registry];
    collectDefaultMetrics({ register: this.#registry });
    const gauge = (name: string, help: string, read: () => number): void => {
      new Gauge({
        name,
        help,
        registers,
        collect() {
          this.set(read());
        },
      });
    };
    const { state, fanout, readiness } = ledger;
    this.#readiness = readiness;
    this.#totals = { networks: 0, nodes: 0, changing: 0 };
    gauge("weft_server_revision", "Revision of the last commit that is served", () => state.revision);
    gauge("weft_server_networks", "Networks", () => state.networks.size);
    gauge("weft_server_nodes", "Nodes that have registered", () => state.nodes.size);
    gauge("weft_server_nodes_connected", "Nodes that watch now", () => fanout.connected);
    gauge("weft_server_endpoints", "Endpoints", () => state.endpoints.size);
    gauge("weft_server_blocks", "Blocks of layer-3 networks that nodes own", () => state.blockCount);
    gauge("weft_server_watch_queue_changes", "Changes that wait for the slowest node", () => fanout.longestQueue);
    gauge(
      "weft_server_networks_behind",
      "Networks that are not in place on all of their nodes that are connected",
      () => this.#totals.networks,
    );
    gauge(
      "weft_server_nodes_behind",
      "Connected nodes that do not have all of their networks in place",
      () => this.#totals.nodes,
    );
    gauge(
      "weft_server_networks_changing",
      "Networks that are changing their encapsulation, port or the like",
      () => this.#totals.changing,
    );
    new Counter({
      name: "weft_server_commits_total",
      help: "Transactions committed by this server",
      registers,
      collect() {
        this.reset();
        this.inc(ledger.commits);
      },
    });
    new Counter({
      name: "weft_server_agents_refused_total",
      help: "Requests refused because another agent speaks as the node: two hosts with one identity",
      registers,
      collect() {
        this.reset();
        this.inc(conversations.refused);
      },
    });
    this.#durations = new Histogram({
      name: "weft_server_request_duration_seconds",
      help: "Time from a request to its answer, without Watch",
      labelNames: ["method", "code"],
      registers,
    });
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  async text(): Promise<string> {
    this.#totals = this.#readiness.totals();
    return this.#registry.metrics();
  }

  /** `code`: the code of the error, or `ok`. */
  observeRequest(method: string, code: string, seconds: number): void {
    this.#durations.observe({ method, code }, seconds);
  }
}

import { type IncomingMessage, request } from "node:http";
import { messageOf, WeftError } from "../../base/errors.ts";
import { Fields } from "./fields.ts";

/** A container has come into a network, or is called otherwise. */
export interface EngineEvent {
  readonly container: string;
}

/** A container as others in its networks may call it. */
export interface EngineContainer {
  readonly id: string;
  /** What it is called in all its networks. */
  readonly name: string;
  /** What else it is called, by the endpoints that it has. */
  readonly aliases: ReadonlyMap<string, readonly string[]>;
}

/** Of an answer, and of one event: an engine has a few hundred containers. */
const longestText = 16 << 20;

/** Docker's own API on its socket, as far as names go: it is read, and nothing is asked of it to be done. */
export class Engine {
  readonly #socket: string;

  constructor(socket: string) {
    this.#socket = socket;
  }

  /** Containers that run in one of these networks of Docker's. */
  async containersOf(networks: readonly string[]): Promise<string[]> {
    const found = await this.#get(`/containers/json?filters=${filters({ network: networks })}`);
    return Fields.parseList(found ?? "[]").map((each) => each.text("Id"));
  }

  /** `undefined`: it is gone. */
  async container(id: string): Promise<EngineContainer | undefined> {
    const found = await this.#get(`/containers/${encodeURIComponent(id)}/json`);
    if (found === undefined) return undefined;
    const fields = Fields.parse(found);
    const networks = fields.within("NetworkSettings").within("Networks");
    return {
      id,
      name: fields.text("Name").replace(/^\//, ""),
      aliases: new Map(
        networks.names.map((name) => {
          const network = networks.within(name);
          return [network.text("EndpointID"), network.texts("Aliases")];
        }),
      ),
    };
  }

  /** What happens from now on, until the engine or `signal` ends it. `onBegin`: from here on nothing is missed. */
  async *events(signal: AbortSignal, onBegin: () => void): AsyncGenerator<EngineEvent> {
    // A container that is starting is connected before it is listed as running: its start is told last.
    const wanted = filters({ type: ["network", "container"], event: ["connect", "start", "rename"] });
    const response = await this.#answer(`/events?filters=${wanted}`, signal);
    requireOk(response, "follow what happens to its containers");
    onBegin();
    let text = "";
    for await (const chunk of response.setEncoding("utf8") as AsyncIterable<string>) {
      const lines = (text + chunk).split("\n");
      text = lines.pop() ?? "";
      if (text.length > longestText) throw unusable("follow what happens to its containers", "an event has no end");
      for (const line of lines) {
        const event = Fields.parse(line);
        const actor = event.within("Actor");
        const isOfNetwork = event.text("Type") === "network";
        yield { container: isOfNetwork ? actor.within("Attributes").text("container") : actor.text("ID") };
      }
    }
  }

  /** `undefined`: there is none. */
  async #get(path: string): Promise<string | undefined> {
    const response = await this.#answer(path);
    let text = "";
    for await (const chunk of response.setEncoding("utf8") as AsyncIterable<string>) {
      text += chunk;
      if (text.length > longestText) throw unusable(`read ${path}`, `it is longer than ${longestText} octets`);
    }
    if (response.statusCode === 404) return undefined;
    requireOk(response, `read ${path}`);
    return text;
  }

  #answer(path: string, signal?: AbortSignal): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const options = { socketPath: this.#socket, path, ...(signal === undefined ? {} : { signal }) };
      request(options, resolve)
        .on("error", (error) =>
          reject(
            new WeftError({
              code: "unavailable",
              attempted: `ask Docker at ${this.#socket} what its containers are called`,
              reason: messageOf(error),
              hint: "start Docker, or name the engine's socket by weft agent --docker-socket",
            }),
          ),
        )
        .end();
    });
  }
}

function filters(of: Readonly<Record<string, readonly string[]>>): string {
  return encodeURIComponent(JSON.stringify(of));
}

function requireOk({ statusCode = 0 }: IncomingMessage, attempted: string): void {
  if (statusCode !== 200) throw unusable(attempted, `it answers with status ${statusCode}`);
}

function unusable(what: string, reason: string): WeftError {
  return new WeftError({ code: "unavailable", attempted: `ask Docker to ${what}`, reason });
}

import type { IncomingMessage, ServerResponse } from "node:http";
import type { Agent } from "../../agent/agent.ts";
import type { AgentPlugin, MakeAgentPlugin } from "../../agent/plugin.ts";
import { messageOf } from "../../base/errors.ts";
import { currentBoot } from "../../linux/boot.ts";
import { parseConfiguration } from "./configuration.ts";
import { type Begun, DeletedMeanwhile } from "./deleted.ts";
import { type Parameters, parseEnvironment } from "./environment.ts";
import { asCniError, CniError, errorCode, errorText } from "./error.ts";
import { LabelFollower } from "./label-follower.ts";
import { ownerOf } from "./owner.ts";
import { PodCollector } from "./pod-collector.ts";
import { type PluginRequest, parseRequest } from "./request.ts";
import { Sequences } from "./sequence.ts";
import { type Call, verbs } from "./verbs.ts";
import { supportedVersions } from "./version.ts";

/** As plugin.c has it. */
const largestRequest = 4 << 20;

export interface CniOptions {
  /** Of Kubernetes' pods the server tells which networks they may be in, and what policies know them by: none comes without. */
  readonly ofPods: boolean;
}

/** What plugin.c asks the agent. The answer is what it prints: with status 200 the result, with any other an error. */
export function cniPlugin(options: CniOptions): MakeAgentPlugin {
  return (agent, runDirectory) => pluginOf(options, agent, runDirectory);
}

function pluginOf({ ofPods }: CniOptions, agent: Agent, runDirectory: string): AgentPlugin {
  const sequences = new Sequences();
  const follower = new LabelFollower(agent);
  const collector = new PodCollector(agent, (attachment) => {
    const { container = "", interface: name = "" } = ownerOf(attachment) ?? {};
    const release = (): Promise<void> => agent.attachments.releaseOwned(attachment);
    return sequences.run(keyOf({ container, interface: name }), false, release, new AbortController().signal);
  });
  agent.pods.onChange = () => {
    follower.look();
    collector.look();
  };
  const boot = currentBoot();
  /** Throws when it cannot be read. */
  const callOf = ({ environment, configuration }: PluginRequest, signal: AbortSignal): Call => {
    const parameters = parseEnvironment(environment);
    return { agent, boot, ofPods, parameters, configuration: parseConfiguration(configuration), signal };
  };
  const inTurn = (call: Call, before?: Promise<CniError | undefined>): Promise<string> => {
    const { command } = call.parameters;
    const act = async (signal: AbortSignal): Promise<string> => {
      const obstacle = await before;
      if (obstacle !== undefined) throw obstacle;
      const answer = await verbs[command]({ ...call, signal });
      // They may have changed meanwhile.
      if (command === "ADD") follower.look();
      return answer;
    };
    return sequences.run(keyOf(call.parameters), command === "DEL", act, call.signal);
  };
  const begin = (request: PluginRequest): Begun => {
    const call = callOf(request, new AbortController().signal);
    return { key: keyOf(call.parameters), done: inTurn(call) };
  };
  const { clock, logger } = agent.options;
  const deleted = new DeletedMeanwhile({ runDirectory, begin, clock, logger });
  const act = async (request: PluginRequest, signal: AbortSignal): Promise<string> => {
    deleted.catchUp();
    const call = callOf(request, signal);
    const { command } = call.parameters;
    if (command === "GC" || command === "STATUS") return verbs[command](call);
    return inTurn(call, command === "ADD" ? deleted.obstacle(keyOf(call.parameters)) : undefined);
  };
  return {
    paths: ["/cni"],
    answer: (request, response) => void answer(agent, act, request, response),
    async begin() {
      const earlier = [...agent.attached.values()].filter((attachment) => {
        const owner = ownerOf(attachment);
        return owner !== undefined && owner.boot !== boot;
      });
      for (const attachment of earlier) await agent.attachments.releaseOwned(attachment);
      deleted.catchUp();
      follower.look();
      collector.look();
    },
    close() {
      follower.close();
      collector.close();
    },
  };
}

/** Calls about the same attachment have the same. */
function keyOf({ container, interface: name }: Pick<Parameters, "container" | "interface">): string {
  return `${container} ${name}`;
}

async function answer(
  agent: Agent,
  act: (request: PluginRequest, signal: AbortSignal) => Promise<string>,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const gone = new AbortController();
  response.once("close", () => {
    if (!response.writableFinished) gone.abort(new CniError(errorCode.tryAgainLater, "the runtime has gone away"));
  });
  let version: string = supportedVersions[supportedVersions.length - 1] ?? "";
  const send = (status: number, text: string): void => {
    const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(text) };
    response.writeHead(status, headers).end(text);
  };
  try {
    const parsed = parseRequest(await bodyOf(request));
    version = versionIn(parsed.configuration) ?? version;
    send(200, await act(parsed, gone.signal));
  } catch (thrown) {
    const error = asCniError(thrown);
    agent.options.logger.warn(
      { code: error.code, details: error.details, error: messageOf(error) },
      "a CNI call failed",
    );
    send(500, errorText(error, version));
  }
}

/** As the configuration says, whatever else is wrong with it. */
function versionIn(configuration: string): string | undefined {
  return /"cniVersion"\s*:\s*"([0-9A-Za-z.-]{1,31})"/.exec(configuration)?.[1];
}

async function bodyOf(request: IncomingMessage): Promise<Uint8Array> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > largestRequest) throw new CniError(errorCode.undecodable, "the request is too large");
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

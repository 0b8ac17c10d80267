import type { RequestListener, Server } from "node:http";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { toConnectError } from "../api/errors.ts";
import { AgentService } from "../api/generated/weft/v1/agent_pb.js";
import { createHttpServer, listenUnix } from "../api/local-server.ts";
import { refuseMalformed } from "../api/malformed.ts";
import { messageOf } from "../base/errors.ts";
import type { Agent } from "./agent.ts";
import { metricsContentType, metricsText } from "./metrics.ts";
import type { AgentPlugin } from "./plugin.ts";
import { agentService } from "./service.ts";

/** Answers on `agent.sock`: the commands of this node, plugins, /metrics, /healthz and /readyz. */
export async function serveAgent(agent: Agent, path: string, plugins: readonly AgentPlugin[]): Promise<Server> {
  const commands = connectNodeAdapter({
    routes: (router) => {
      router.service(AgentService, agentService(agent));
      refuseMalformed(router, (method, error) =>
        agent.options.logger.info({ method, error }, "malformed request refused"),
      );
    },
    interceptors: [
      (next) => async (request) => {
        try {
          return await next(request);
        } catch (error) {
          throw toConnectError(error);
        }
      },
    ],
  });
  const handler: RequestListener = (request, response) => {
    switch (request.url) {
      case "/metrics":
        metricsText(agent).then(
          (text) => response.writeHead(200, { "content-type": metricsContentType }).end(text),
          (error: unknown) => response.writeHead(500).end(`${messageOf(error)}\n`),
        );
        return;
      case "/healthz":
        response.writeHead(200).end("ok\n");
        return;
      case "/readyz":
        response.writeHead(agent.inSync ? 200 : 503).end(agent.inSync ? "ok\n" : "the kernel is not yet as desired\n");
        return;
      default:
        (plugins.find(({ paths }) => paths.includes(request.url ?? ""))?.answer ?? commands)(request, response);
    }
  };
  const server = createHttpServer(handler);
  await listenUnix(server, path, "agent");
  return server;
}

import type { RequestListener } from "node:http";
import type { Metrics } from "./metrics.ts";

/** Answers /metrics, /healthz and /readyz; all else is `fallback`'s. */
export function observabilityHandler(
  metrics: Metrics,
  isReady: () => boolean,
  fallback: RequestListener,
): RequestListener {
  return (request, response) => {
    switch (request.url) {
      case "/metrics":
        metrics.text().then(
          (text) => response.writeHead(200, { "content-type": metrics.contentType }).end(text),
          (error: Error) => response.writeHead(500).end(`${error.message}\n`),
        );
        return;
      case "/healthz":
        response.writeHead(200).end("ok\n");
        return;
      case "/readyz":
        response.writeHead(isReady() ? 200 : 503).end(isReady() ? "ok\n" : "the store has failed\n");
        return;
      default:
        fallback(request, response);
    }
  };
}

export const notFound: RequestListener = (_request, response) => {
  response.writeHead(404).end("not found; see /metrics, /healthz and /readyz\n");
};

import { z } from "zod";
import type { Clock } from "../../base/clock.ts";
import { seconds } from "../../base/duration.ts";
import { messageOf, WeftError } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import type { Voucher } from "../../server/voucher.ts";
import type { ApiClient } from "./api/client.ts";
import { ApiError } from "./api/client.ts";
import { sleep } from "./sleep.ts";

/** Whom these tokens are for, so that one that a pod has for others is none. */
const audience = "weft";
/** Where the fingerprint of the server's CA is written, in the account's namespace. */
const configMap = { name: "weft-server", field: "fingerprint" };
const reviewTimeout = seconds(10);
const announceInterval = seconds(5);

const reviewSchema = z.object({
  status: z.object({
    authenticated: z.boolean().default(false),
    audiences: z.array(z.string()).default([]),
    error: z.string().default(""),
    user: z
      .object({ username: z.string().default(""), extra: z.record(z.string(), z.array(z.string())).default({}) })
      .default({ username: "", extra: {} }),
  }),
});
const podSchema = z.object({
  metadata: z.object({ uid: z.string() }),
  spec: z.object({ nodeName: z.string().default("") }),
});

export interface PodVoucherOptions {
  readonly client: ApiClient;
  /** Of the agents' pods. */
  readonly account: { readonly namespace: string; readonly name: string };
  readonly clock: Clock;
  readonly logger: Logger;
}

/**
 * The API server vouches for agents that run in pods: the token of a pod's service account names the pod (bound tokens, TokenReview), and the pod
 * its node.
 */
export class PodVoucher implements Voucher {
  readonly #options: PodVoucherOptions;

  constructor(options: PodVoucherOptions) {
    this.#options = options;
  }

  async nodeOf(token: string): Promise<string> {
    const { client, account } = this.#options;
    const attempted = "ask the API server who shows a token";
    const signal = AbortSignal.timeout(reviewTimeout);
    const refuse = (reason: string): WeftError =>
      new WeftError({
        code: "unauthenticated",
        attempted,
        reason,
        hint: `let the agent show a token of service account ${account.namespace}/${account.name} for audience ${audience}, as deploy/agent.yaml has it`,
      });
    const ask = <Answer>(schema: z.ZodType<Answer>, answer: Promise<unknown>): Promise<Answer> =>
      answer.then(
        (value) => schema.parse(value),
        (error: unknown) => {
          if (error instanceof ApiError && error.status === 404) throw refuse("the pod that it is of is gone");
          throw new WeftError({
            code: "unavailable",
            attempted,
            reason: messageOf(error),
            hint: "try again",
            cause: error,
          });
        },
      );
    const review = {
      apiVersion: "authentication.k8s.io/v1",
      kind: "TokenReview",
      spec: { token, audiences: [audience] },
    };
    const { status } = await ask(
      reviewSchema,
      client.create("/apis/authentication.k8s.io/v1/tokenreviews", review, signal),
    );
    if (!status.authenticated || !status.audiences.includes(audience))
      throw refuse(`the API server does not know the token${status.error === "" ? "" : `: ${status.error}`}`);
    const { username, extra } = status.user;
    if (username !== `system:serviceaccount:${account.namespace}:${account.name}`)
      throw refuse(`it is a token of ${username}`);
    const [name] = extra["authentication.kubernetes.io/pod-name"] ?? [];
    const [uid] = extra["authentication.kubernetes.io/pod-uid"] ?? [];
    if (name === undefined || uid === undefined) throw refuse("it is bound to no pod");
    const path = `/api/v1/namespaces/${account.namespace}/pods/${encodeURIComponent(name)}`;
    const pod = await ask(podSchema, client.get(path, signal));
    if (pod.metadata.uid !== uid || pod.spec.nodeName === "") throw refuse("the pod that it is of is gone");
    return pod.spec.nodeName;
  }

  async announce(fingerprint: string, signal: AbortSignal): Promise<void> {
    const { client, account, clock, logger } = this.#options;
    const path = `/api/v1/namespaces/${account.namespace}/configmaps/${configMap.name}`;
    while (!signal.aborted)
      try {
        await client.merge(path, { data: { [configMap.field]: fingerprint } }, signal);
        return;
      } catch (error) {
        logger.warn(
          { error: messageOf(error) },
          "agents are not yet told the fingerprint of this server; trying again",
        );
        await sleep(clock, announceInterval, signal);
      }
  }
}

import type { Agent } from "../../agent/agent.ts";
import { seconds } from "../../base/duration.ts";
import type { Pod } from "../../model/resources.ts";
import type { Parameters } from "./environment.ts";
import { CniError, errorCode } from "./error.ts";

/** What a runtime knows before weft does comes a moment later; the runtime tries again when it does not. */
const patience = seconds(20);

/**
 * The pod that a call is about, as weft was told of it, with the networks that it may be in and the labels that policies know it by. Without
 * them it must not begin. `undefined`: the call is about no pod of Kubernetes'.
 */
export async function podOf(agent: Agent, { args }: Parameters, signal: AbortSignal): Promise<Pod | undefined> {
  const [namespace, name, uid] = ["K8S_POD_NAMESPACE", "K8S_POD_NAME", "K8S_POD_UID"].map((key) => args.get(key) ?? "");
  if (namespace === "" || name === "") return undefined;
  const title = `${namespace}/${name}`;
  if (uid === undefined || uid === "")
    throw new CniError(
      errorCode.invalidEnvironment,
      `pod ${title}: the runtime does not say its UID, K8S_POD_UID in CNI_ARGS`,
      "containerd 1.6 and CRI-O 1.21 do",
    );
  const tooLong = new AbortController();
  const { state, error } = agent.serverState;
  const cancel = agent.options.clock.after(patience, () =>
    tooLong.abort(
      new CniError(
        errorCode.tryAgainLater,
        `pod ${title}: weft has not been told of it within ${patience / 1_000} s`,
        state === "disconnected"
          ? `the agent has no connection to the server: ${error}`
          : "see whether weft kubernetes runs, and what it logs",
      ),
    ),
  );
  try {
    const pod = await agent.pods.told(uid, AbortSignal.any([signal, tooLong.signal]));
    if (pod.refusal === undefined) return pod;
    throw new CniError(errorCode.invalidConfiguration, `pod ${title}: ${pod.refusal}`, "mend it there");
  } finally {
    cancel();
  }
}

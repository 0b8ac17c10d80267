import { pino } from "pino";
import { serverClient } from "../../api/clients.ts";
import { systemClock } from "../../base/clock.ts";
import { hours } from "../../base/duration.ts";
import type { Logger } from "../../base/logger.ts";
import { accessByKubeconfig, accessInCluster } from "./api/access.ts";
import { ApiClient } from "./api/client.ts";
import { Controller } from "./controller.ts";
import { PodVoucher, type PodVoucherOptions } from "./pod-voucher.ts";

export interface RunKubernetesOptions {
  /** Absent: this runs in the cluster. */
  readonly kubeconfig?: string;
  /** The server's admin socket. */
  readonly server: string;
  readonly network: string;
}

/** Of the cluster that this runs in: pods of a service account join by its tokens. */
export async function podVoucher(account: PodVoucherOptions["account"], logger: Logger): Promise<PodVoucher> {
  const client = new ApiClient(await accessInCluster(process.env));
  return new PodVoucher({ client, account, clock: systemClock, logger });
}

/** Keeps weft as Kubernetes has it, until SIGTERM or SIGINT; logs JSON lines on standard error. Resolves with the exit status. */
export async function runKubernetes({ kubeconfig, server, network }: RunKubernetesOptions): Promise<number> {
  const logger = pino(
    { base: null, timestamp: pino.stdTimeFunctions.isoTime },
    pino.destination({ fd: 2, sync: true }),
  );
  const access = await (kubeconfig === undefined ? accessInCluster(process.env) : accessByKubeconfig(kubeconfig));
  const kubernetes = new ApiClient(access);
  const stop = new AbortController();
  for (const name of ["SIGTERM", "SIGINT"] as const)
    process.once(name, () => {
      logger.info({ signal: name }, "stopping; weft stays as it is");
      stop.abort();
    });
  const controller = new Controller({
    kubernetes,
    weft: serverClient(server),
    network,
    clock: systemClock,
    logger,
  });
  logger.info({ apiServer: access.url.href, server, network }, "following Kubernetes");
  // Timers of the clock do not keep the process alive.
  const alive = setInterval(() => {}, hours(1));
  await controller.run(stop.signal);
  clearInterval(alive);
  kubernetes.close();
  return 0;
}

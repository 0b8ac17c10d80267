import { pino } from "pino";
import type { Cidr } from "../base/cidr.ts";
import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import { startServer } from "./server.ts";
import type { Voucher } from "./voucher.ts";

export interface RunServerOptions {
  /** Where nodes reach the server: `ADDR:PORT`. */
  readonly listen: string;
  readonly dataDir: string;
  /** `ADDR:PORT` for Prometheus; absent: on the admin socket only. */
  readonly metrics?: string;
  /** Where VTEP addresses of nodes must lie; none: each must be proved or approved. */
  readonly vtepPrefixes?: readonly Cidr[];
  /** Who else says which node is which; none: nobody. */
  readonly voucher?: (logger: Logger) => Promise<Voucher>;
}

/**
 * Runs the control server until SIGTERM or SIGINT, or until its store fails; logs JSON lines on standard error.
 * Resolves with the exit status. Throws {@link WeftError} when it cannot start.
 */
export async function runServer(options: RunServerOptions): Promise<number> {
  const logger = pino(
    { base: null, timestamp: pino.stdTimeFunctions.isoTime },
    pino.destination({ fd: 2, sync: true }),
  );
  const { promise: stopped, resolve: stop } = Promise.withResolvers<number>();
  const { voucher, ...rest } = options;
  const server = await startServer({
    ...rest,
    ...(voucher === undefined ? {} : { voucher: await voucher(logger) }),
    logger,
    onFailure: () => stop(1),
  });
  const onSignal = (signal: NodeJS.Signals): void => {
    logger.info({ signal }, "stopping");
    stop(0);
  };
  process.once("SIGTERM", onSignal);
  process.once("SIGINT", onSignal);
  const status = await stopped;
  await server.close().catch((error: unknown) => logger.error({ error: messageOf(error) }, "stopping failed"));
  return status;
}

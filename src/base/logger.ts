/**
 * Structured logging with fixed field names: `network`, `tenant`, `node`, `endpoint`, `vni`, `revision`, `error`.
 * The shape is pino's, so that an entry point can pass a pino logger as it is.
 */
export interface Logger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

const ignore = (): void => {};
export const silentLogger: Logger = { debug: ignore, info: ignore, warn: ignore, error: ignore };

import { mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { type PluginRequest, parseRequest } from "./request.ts";

/** What plugin.c calls it, beside the agent's socket. */
const folderName = "cni-deleted";
const finished = /^[0-9a-f]{16}$/;

/** Acts upon each DEL that was asked for while no agent ran. Those that fail were asked for in vain, as they would have been then. */
export async function catchUp(
  runDirectory: string,
  act: (request: PluginRequest) => Promise<unknown>,
  logger: Logger,
): Promise<void> {
  const folder = join(runDirectory, folderName);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  for (const name of readdirSync(folder)) {
    const file = join(folder, name);
    // What its writer did not finish the runtime was told to have failed.
    if (finished.test(name))
      try {
        await act(parseRequest(readFileSync(file)));
      } catch (error) {
        logger.warn(
          { file, error: messageOf(error) },
          "a container that was deleted while no agent ran: not all was done",
        );
      }
    rmSync(file, { force: true });
  }
}

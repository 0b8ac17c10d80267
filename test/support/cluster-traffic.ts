/** Traffic between containers that notices each packet that is lost. */
import { fileURLToPath } from "node:url";
import type { NetworkNamespace } from "../../src/linux/index.ts";
import { BackgroundProgram, type Owner } from "./cluster.ts";
import { requires } from "./kernel.ts";

/** What a stream came to. */
export interface Traffic {
  readonly sent: number;
  readonly lost: number;
  /** Milliseconds of the longest silence. */
  readonly longestGap: number;
  readonly tcpSent: number;
  readonly tcpAnswered: number;
  /** Empty: the connection stood from beginning to end. */
  readonly tcpError: string;
}

const program = fileURLToPath(new URL("traffic-program.ts", import.meta.url));

/** Milliseconds between datagrams. Where processes take ten times as long, a tenth of them. */
const interval = requires("quick processes").skip === false ? 1 : 10;

/** Starts a stream between two namespaces. */
export async function startStream(
  owner: Owner,
  from: NetworkNamespace,
  to: NetworkNamespace,
  address: string,
): Promise<{ stop(): Promise<Traffic> }> {
  const echo = new BackgroundProgram(owner, to, process.execPath, [program, "echo"]);
  await echo.said(/ready/);
  const stream = new BackgroundProgram(owner, from, process.execPath, [program, "stream", address, `${interval}`]);
  await stream.said(/flowing/);
  return {
    async stop() {
      stream.say("stop");
      await stream.ended();
      await echo.end();
      const [, result] = stream.output.split("flowing\n");
      if (result === undefined || result === "") throw new Error(`the stream broke off: ${stream.complaints}`);
      return JSON.parse(result) as Traffic;
    },
  };
}

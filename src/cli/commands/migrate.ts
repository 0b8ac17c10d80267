import { isAbsolute } from "node:path";
import type { Command } from "commander";
import { UsageError } from "../errors.ts";
import {
  examples,
  interfaceName,
  networkName,
  outputOption,
  serverOption,
  type WithOutput,
  type WithServer,
} from "../options.ts";
import { plain, show } from "../output.ts";
import { type WithWait, waitInPlace, waitOption } from "../wait.ts";
import { placeOf } from "./attach-place.ts";

interface Options extends WithServer, WithOutput, WithWait {
  readonly to?: string;
  readonly onAnnouncement?: true;
  readonly cancel?: true;
  readonly network?: string;
  readonly netns?: string;
  readonly interface?: string;
}

export function registerMigrate(program: Command): void {
  const migrate = program
    .command("migrate <endpoint>")
    .description(
      "move an endpoint, named by id, MAC or address, to another node: it keeps MAC, addresses, labels and limits",
    )
    .option("--to <node>", "the node that shall have it")
    .option("--on-announcement", "let the node stand by for it, and take it over when it announces itself there")
    .option("--cancel", "no node makes ready to take it over any more")
    .option("--network <network>", "the network that it is in, where several have such an address", networkName)
    .option("--netns <name|path>", "the namespace there that it shall be attached in")
    .option(
      "--interface <name>",
      "with --netns: the interface's name in there (default: eth0); without: an interface of the other node's host (default: a tap as it has)",
      interfaceName,
    )
    .addOption(waitOption())
    .addOption(serverOption())
    .addOption(outputOption())
    .action(async (endpoint: string, options: Options) => {
      const { to, cancel, network = "" } = options;
      if ((to === undefined) === (cancel === undefined))
        throw new UsageError(`migrate ${endpoint}`, "one of --to and --cancel is needed", "weft migrate --help");
      const { serverClient } = await import("../admin.ts");
      const client = serverClient(options.server);
      if (to === undefined) {
        const answer = await client.cancelMigration({ endpoint, network });
        await show(options.output, plain(answer), () =>
          answer.node === ""
            ? `endpoint ${endpoint}: no node stood by for it\n`
            : `endpoint ${endpoint}: stays on node ${answer.endpoint?.node}, node ${answer.node} stands by no more\n`,
        );
        return;
      }
      // The other node has another working directory, and other processes.
      if (options.netns?.includes("/") === true && !isAbsolute(options.netns))
        throw new UsageError(
          `migrate ${endpoint}`,
          `--netns ${options.netns} is neither a name nor a whole path`,
          "weft migrate --help",
        );
      const isPlaced = options.netns !== undefined || options.interface !== undefined;
      const place = isPlaced ? { netns: "", interface: "", device: "", ...placeOf(migrate, options) } : undefined;
      if (options.onAnnouncement === true) {
        const admitted = await client.migrateEndpoint({ endpoint, network, node: to, onAnnouncement: true });
        await show(
          options.output,
          plain(admitted),
          () =>
            `endpoint ${admitted.endpoint?.id}: node ${to} may stand by for it: weft attach ${admitted.endpoint?.network} … --standby ${admitted.endpoint?.id}\n`,
        );
        return;
      }
      const began = performance.now();
      const answer = await client.migrateEndpoint({
        endpoint,
        network,
        node: to,
        ...(place === undefined ? {} : { place }),
      });
      const took = Math.round(performance.now() - began);
      await show(
        options.output,
        { ...plain(answer), milliseconds: took },
        () =>
          `endpoint ${answer.endpoint?.id} (${answer.endpoint?.ips.join(", ")}): moved from node ${answer.formerNode} to node ${to} in ${took} ms\n`,
      );
      if (options.wait !== undefined)
        await waitInPlace(`endpoint ${endpoint}`, options.wait, (signal) =>
          client.waitInPlace({ networks: [answer.endpoint?.network ?? ""], revision: answer.revision }, { signal }),
        );
    });
  examples(
    migrate,
    "weft migrate 10.1.0.9 --to h2",
    "weft migrate 5f0c2a9be871 --to h2 --netns red --wait",
    "weft migrate 10.1.0.9 --to h2 --on-announcement",
    "weft migrate 10.1.0.9 --network web --cancel",
  );
}

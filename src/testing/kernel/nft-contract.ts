import type { Kernel } from "../../dataplane/kernel.ts";
import { SystemError } from "../../linux/index.ts";
import {
  addNftElements,
  addNftSet,
  addNftTable,
  deleteNftElements,
  deleteNftSet,
  deleteNftTable,
  NetlinkSocket,
  netlinkProtocol,
  nftField,
  type Request,
  Watch,
} from "../../netlink/index.ts";

const table = { family: "inet", table: "probe" } as const;
const set = { ...table, name: "ports", key: [nftField.inet_service] };
const chain = { ...table, name: "input" };
const left = { payload: { protocol: "tcp", field: "dport" } };
const rule = { ...table, chain: "input", expr: [{ match: { op: "==", left, right: "@ports" } }, { drop: null }] };

/** What a kernel tells of nftables, and by whom, when a table and what is in it comes, goes and is written again as it was. */
export async function observeFilters(kernel: Kernel, [name]: readonly [string, string]): Promise<string[]> {
  using namespace = kernel.openNamed(name);
  const socket = new NetlinkSocket({ channel: namespace.openChannel({ protocol: netlinkProtocol.netfilter }) });
  using watch = new Watch({ open: (options) => namespace.openChannel(options), groups: [] });
  const lines: string[] = [];
  const told = new Set<string>();
  watch.subscribe("nft", ({ table: of, port }) => {
    if (of !== mark) told.add(`  ${of} by ${port === socket.portId ? "the socket" : "nft"}`);
  });
  const note = async (what: string, action: () => Promise<unknown>): Promise<void> => {
    told.clear();
    const outcome = await action().then(
      () => "done",
      (error: unknown) => (error instanceof SystemError ? error.errnoName : "refused"),
    );
    await heardAll(socket, watch);
    lines.push(`${what}: ${outcome}`, ...[...told].sort());
  };
  const ask = (what: string, ...requests: readonly Request[]): Promise<void> =>
    note(what, async () => {
      const { failures } = await socket.transaction(requests);
      if (failures[0] !== undefined) throw failures[0].error;
    });
  const run = (what: string, ...commands: readonly object[]): Promise<void> =>
    note(what, () => namespace.nft(what, ["-j", "-f", "-"], JSON.stringify({ nftables: commands })));
  const rules = [{ add: { chain } }, { add: { rule } }];
  try {
    await run("rules of no table", ...rules);
    await ask("set of no table", addNftSet(set));
    for (const what of ["table", "the same table"]) await ask(what, addNftTable(table.family, table.table));
    await ask("set", addNftSet(set));
    for (const what of ["elements", "the same elements", "one element more"])
      await ask(what, addNftElements(set, what === "one element more" ? ["22", "80"] : ["22"]));
    await run("rules", ...rules);
    await run(
      "the same rules",
      { flush: { table: { family: table.family, name: table.table } } },
      { delete: { chain } },
      ...rules,
    );
    await ask("set that is in use", deleteNftSet(set));
    await ask("an element less", deleteNftElements(set, ["22"]));
    await ask("no such element", deleteNftElements(set, ["22"]));
    await ask("one that is there and one that is not", deleteNftElements(set, ["80", "443"]));
    await run("rules less", { flush: { table: { family: table.family, name: table.table } } }, { delete: { chain } });
    await ask("set less", deleteNftSet(set));
    await ask("no such set", deleteNftSet(set));
    for (const what of ["table less", "no such table"]) await ask(what, deleteNftTable(table.family, table.table));
    return lines;
  } finally {
    socket.close();
  }
}

const mark = "mark";

/** Events come in order: after what is told of this table, all that was told before has been heard. */
async function heardAll(socket: NetlinkSocket, watch: Watch): Promise<void> {
  for (const request of [addNftTable("inet", mark), deleteNftTable("inet", mark)]) {
    const { promise, resolve } = Promise.withResolvers<void>();
    const stop = watch.subscribe("nft", () => resolve(), mark);
    await socket.transaction([request]);
    await promise;
    stop();
  }
}

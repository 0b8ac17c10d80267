import type { FindingCode } from "../codes.ts";
import type { FindingDraft } from "../finding.ts";
import type { Check } from "../subject.ts";
import { listFdb, listNeighbourRows, listRouteRows, type TableRow } from "../tables.ts";

/** Of one table so many differing rows are told by themselves, and the rest by their number. */
const toldAtMost = 20;

interface Compared {
  readonly name: string;
  readonly list: typeof listFdb;
  readonly kind: string;
  readonly missing: FindingCode;
  readonly differing: FindingCode;
  readonly foreign?: FindingCode;
}

const compared: readonly Compared[] = [
  {
    name: "forwarding entries of tunnels and bridges",
    list: listFdb,
    kind: "FDB entry",
    missing: "fdb-entry-missing",
    differing: "fdb-entry-differs",
    foreign: "fdb-entry-foreign",
  },
  {
    name: "who answers ARP and neighbour solicitations",
    list: listNeighbourRows,
    kind: "neighbour",
    missing: "neighbour-missing",
    differing: "neighbour-differs",
  },
  {
    name: "routes to blocks of other nodes",
    list: listRouteRows,
    kind: "route",
    missing: "route-missing",
    differing: "route-differs",
  },
];

/** What is desired beside what the kernel has, row by row, as the dataplane judges it. */
export const tableChecks: readonly Check[] = compared.map((table) => ({
  name: table.name,
  async *run({ dataplane }) {
    for (const network of dataplane.networks.values()) {
      const { name, tenant } = network.settings;
      const differing = await table.list(dataplane, network, (row) => codeOf(table, row) !== undefined);
      for (const row of differing.slice(0, toldAtMost)) yield findingOf(table, row, tenant);
      const untold = differing.length - toldAtMost;
      const [first] = differing;
      if (untold > 0 && first !== undefined)
        yield {
          code: codeOf(table, first) ?? table.differing,
          object: { kind: table.kind, tenant, network: name, key: `and ${untold} more` },
          expected: "as weft wants them",
          found: `${untold} more rows are not: weft ${table.list === listFdb ? "fdb" : "neighbours"} --network ${name}`,
        };
    }
  },
}));

function codeOf(table: Compared, { origin, state }: TableRow): FindingCode | undefined {
  if (state === "missing") return origin === "flood" ? "flood-entry-missing" : table.missing;
  if (state === "different") return table.differing;
  return state === "foreign" ? table.foreign : undefined;
}

function findingOf(table: Compared, row: TableRow, tenant: string): FindingDraft {
  const { network = "", key = "", device, desired, actual, origin } = row;
  const code = codeOf(table, row) ?? table.differing;
  const isFlood = origin === "flood";
  return {
    code,
    object: {
      kind: isFlood ? "flood entry" : table.kind,
      tenant,
      network,
      key: isFlood ? (desired ?? "") : key,
    },
    expected: wayText(desired, device),
    found: wayText(actual, device),
  };
}

function wayText(way = "", device = ""): string {
  if (way === "") return "none";
  return device === "" || device === way ? way : `${way} by ${device}`;
}

/**
 * One of those who talk in tests of policies: `node party.ts PORT…` answers at these ports by TCP and UDP, on all addresses, and does
 * what it reads, a line of JSON each: {@link Command}. It prints {@link Answer}s. It loads nothing of weft, so that it starts at once.
 */
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { createInterface } from "node:readline";

/** `open` begins a connection, `say` sends a line over one that stands, `ask` sends a datagram, `end` lets go of either. */
export type Command =
  | {
      readonly do: "open" | "ask";
      readonly id: number;
      readonly address: string;
      readonly port: number;
      readonly from?: number;
    }
  | { readonly do: "say" | "end"; readonly id: number };

/** `open`: the connection stands. `heard`: what was sent came back. `ended`: nothing is sent any more. */
export interface Answer {
  readonly id: number;
  readonly is: "open" | "heard" | "failed" | "ended";
}

const connections = new Map<number, { end(): void; say(): void }>();
const tell = (answer: Answer): void => void process.stdout.write(`${JSON.stringify(answer)}\n`);

for (const port of process.argv.slice(2).map(Number)) {
  const tcp = createServer((socket) => socket.on("error", () => {}).pipe(socket));
  tcp.listen(port, "::");
  const udp = createSocket({ type: "udp6" });
  udp.on("message", (message, from) => udp.send(message, from.port, from.address));
  udp.bind(port, "::");
  await Promise.all([once(tcp, "listening"), once(udp, "listening")]);
}
process.stdout.write("ready\n");

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line) as Command;
  const { id } = command;
  if (command.do === "open") {
    const { address: host, port, from } = command;
    const socket: Socket = connect({ host, port, ...(from === undefined ? {} : { localPort: from }) }).setNoDelay();
    socket.on("connect", () => tell({ id, is: "open" }));
    socket.on("data", () => tell({ id, is: "heard" }));
    socket.on("error", () => tell({ id, is: "failed" }));
    connections.set(id, { end: () => void socket.resetAndDestroy(), say: () => socket.write(".") });
  } else if (command.do === "ask") {
    const { address, port } = command;
    const socket = createSocket({ type: address.includes(":") ? "udp6" : "udp4" });
    socket.on("message", () => tell({ id, is: "heard" }));
    socket.on("error", () => tell({ id, is: "failed" }));
    // Connected, it hears that nobody is there.
    socket.connect(port, address, () => socket.send("."));
    connections.set(id, { end: () => socket.close(), say: () => socket.send(".") });
  } else if (command.do === "say") connections.get(id)?.say();
  else {
    connections.get(id)?.end();
    connections.delete(id);
    tell({ id, is: "ended" });
  }
}

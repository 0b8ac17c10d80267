/**
 * Traffic that notices each packet that is lost. `node traffic-program.ts echo` answers in one namespace;
 * `node traffic-program.ts stream ADDRESS INTERVAL OCTETS` sends from another, a datagram of OCTETS each INTERVAL milliseconds
 * and as long numbered lines over one TCP connection, until it reads `cease`. To a line that ends with `unanswered` it prints
 * that line and {@link Unanswered}, to any other that line and {@link Counts}. It loads nothing of weft, so that it starts at once.
 */
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

/** What a stream has come to so far. */
export interface Counts {
  readonly sent: number;
  /** Without repetitions. */
  readonly answered: number;
  /** Of the datagrams that were answered, the one that was sent last; they are numbered from 0. */
  readonly highest: number;
  /** Milliseconds of the longest silence. */
  readonly longestGap: number;
  readonly tcpSent: number;
  readonly tcpAnswered: number;
  /** Empty: the connection stands. */
  readonly tcpError: string;
}

/** Datagrams that were not answered, in order, and when each was sent: milliseconds of a clock that all processes share. */
export type Unanswered = readonly (readonly [number: number, sent: number])[];

const port = 7007;
/** Room for 250 datagrams while this machine does something else; the most that every kernel grants. */
const receiveBuffer = 212_992;
/** Datagrams under way at most, so that a receiver that gets no processor for a while loses none of them; and of large ones. */
const mostUnderWay = 150;
const mostLargeUnderWay = 20;
/** When so many are under way one is sent this often, in milliseconds, to notice when the way is open again. */
const probePause = 50;

await (process.argv[2] === "echo"
  ? echo()
  : stream(process.argv[3] ?? "", Number(process.argv[4]), Number(process.argv[5])));

async function echo(): Promise<void> {
  const udp = createSocket({ type: "udp6", recvBufferSize: receiveBuffer });
  udp.on("message", (message, { address, port }) => udp.send(message, port, address));
  udp.bind(port, "::");
  const tcp = createServer((socket) =>
    socket
      .setNoDelay()
      .on("error", () => {})
      .pipe(socket),
  );
  tcp.listen(port, "::");
  await Promise.all([once(udp, "listening"), once(tcp, "listening")]);
  process.stdout.write("ready\n");
}

async function stream(address: string, interval: number, octets: number): Promise<void> {
  const most = octets > 500 ? mostLargeUnderWay : mostUnderWay;
  const udp = createSocket({ type: address.includes(":") ? "udp6" : "udp4", recvBufferSize: receiveBuffer });
  const tcp = connect({ host: address, port }).setNoDelay();
  await once(tcp, "connect");
  let tcpError = "";
  let tcpSent = 0;
  let tcpAnswered = 0;
  let rest = "";
  tcp.setEncoding("utf8");
  tcp.on("error", (error) => {
    tcpError = error.message;
  });
  tcp.on("close", () => {
    tcpError ||= "closed";
  });
  tcp.on("data", (text: string) => {
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) if (line.trimEnd() === `line ${tcpAnswered}`) tcpAnswered++;
  });
  let sent = 0;
  const unanswered = new Map<number, number>();
  let longestGap = 0;
  let last = 0;
  let highest = -1;
  let probed = 0;
  udp.on("message", (message) => {
    const number = Number(message.toString());
    if (!unanswered.delete(number)) return;
    const now = performance.now();
    if (highest >= 0) longestGap = Math.max(longestGap, now - last);
    highest = Math.max(highest, number);
    last = now;
  });
  const send = (): void => {
    unanswered.set(sent, Number(process.hrtime.bigint() / 1_000_000n));
    udp.send(String(sent++).padEnd(octets), port, address);
  };
  const began = performance.now();
  const timer = setInterval(() => {
    // Late ticks are made up for, a few at a time: all at once they would overrun the receiver's socket.
    const due = Math.min((performance.now() - began) / interval, sent + 20);
    while (sent < due && sent - highest <= most) send();
    if (sent < due && performance.now() - probed > probePause) {
      probed = performance.now();
      send();
    }
    if (sent % 5 === 0 && tcpError === "") tcp.write(`${`line ${tcpSent++}`.padEnd(octets)}\n`);
  }, interval);
  while (sent - unanswered.size < 20 || tcpAnswered < 1) await sleep(1);
  process.stdout.write("flowing\n");
  for await (const line of createInterface({ input: process.stdin })) {
    if (line === "cease") clearInterval(timer);
    else if (line.endsWith("unanswered"))
      process.stdout.write(`${line} ${JSON.stringify([...unanswered] satisfies Unanswered)}\n`);
    else {
      const answered = sent - unanswered.size;
      const counts = { sent, answered, highest, longestGap: Math.round(longestGap), tcpSent, tcpAnswered, tcpError };
      process.stdout.write(`${line} ${JSON.stringify(counts satisfies Counts)}\n`);
    }
  }
}

/**
 * Sends a numbered line to an echo server every few milliseconds over one TCP connection, until standard input ends, and then waits for
 * what is under way: `echo-client.ts ADDRESS`. Prints JSON: how many lines came back, in order, and the longest time between two of them.
 */
import { connect } from "node:net";
import { createInterface } from "node:readline";
import { setTimeout } from "node:timers/promises";

const interval = 5;
const [address = ""] = process.argv.slice(2);
const socket = connect({ host: address, port: 7, noDelay: true });
let sent = 0;
let received = 0;
let longest = 0;
let last = performance.now();
let isOver = false;
let failure = "";
socket.on("error", (error) => {
  failure = error.message;
});
// What the socket reports, its reader reports as well.
createInterface({ input: socket })
  .on("error", () => {})
  .on("line", (line) => {
    const now = performance.now();
    if (received > 0) longest = Math.max(longest, now - last);
    last = now;
    if (line !== `${received}`) failure ||= `line ${received} came back as ${line}`;
    received++;
  });
process.stdin.resume().on("end", () => {
  isOver = true;
});
for (; !isOver && failure === ""; await setTimeout(interval)) socket.write(`${sent++}\n`);
while (received < sent && failure === "") await setTimeout(interval);
console.log(JSON.stringify({ sent, received, longest: Math.round(longest), failure }));
process.exit();

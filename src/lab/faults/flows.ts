import type { Bench } from "./bench.ts";

/** Begins connections to a port on which nobody listens: whoever is reached refuses at once. */
const program = `
const { connect } = require("node:net");
const [address, count, wait] = process.argv.slice(1);
let answered = 0;
let open = Number(count);
for (let flow = 0; flow < Number(count); flow++) {
  const socket = connect({ host: address, port: 9 });
  const end = (isAnswered) => {
    if (isAnswered) answered++;
    socket.destroy();
    if (--open === 0) console.log(answered);
  };
  const timer = setTimeout(() => end(false), Number(wait));
  socket.on("error", ({ code }) => {
    clearTimeout(timer);
    end(code === "ECONNREFUSED");
  });
}`;

/** How many of so many flows, each with a source port of its own, are answered within a second. */
export async function answeredFlows(bench: Bench, from: string, to: string, count: number): Promise<number> {
  const words = [process.execPath, "-e", program, to, `${count}`, "900"].map((word) => `'${word}'`).join(" ");
  return Number((await bench.sh(from, words)).trim());
}

import type { Lab } from "../../src/lab/lab.ts";
import { runProgram } from "../../src/lab/process.ts";
import { BackgroundProgram, type Owner } from "./cluster.ts";

/** In a place of a lab, who takes connections and datagrams on a port and answers with the place's name and the caller's address as seen there. */
export async function answerCallers(owner: Owner, lab: Lab, place: string, port: number): Promise<void> {
  const program = new BackgroundProgram(owner, lab.namespace(place), process.execPath, [
    "-e",
    `const say = (address) => "${place} " + address.replace("::ffff:", "");
     const udp = require("node:dgram").createSocket("udp6");
     udp.on("message", (_, { address, port }) => udp.send(say(address), port, address));
     require("node:net").createServer((socket) => socket.end(say(socket.remoteAddress)))
       .listen(${port}, "::", () => udp.bind(${port}, "::", () => console.log("ready")));`,
  ]);
  await program.said(/ready/);
}

/** What is answered to who connects from there; else why nothing is: an error's code, or `silence`. */
export async function call(lab: Lab, from: string, address: string, port: number): Promise<string> {
  using namespace = lab.namespace(from);
  const { output } = await runProgram(namespace, process.execPath, [
    "-e",
    `const socket = require("node:net").connect({ port: ${port}, host: "${address}", timeout: 3000 });
     socket.on("error", ({ code }) => console.log(code)).on("timeout", () => { console.log("silence"); socket.destroy(); });
     socket.pipe(process.stdout);`,
  ]);
  return output.trim();
}

/** The same by datagrams over IPv4. */
export async function callByDatagram(lab: Lab, from: string, address: string, port: number): Promise<string> {
  using namespace = lab.namespace(from);
  const { output } = await runProgram(namespace, process.execPath, [
    "-e",
    `const socket = require("node:dgram").createSocket("udp4");
     const ask = setInterval(() => socket.send("?", ${port}, "${address}"), 100);
     setTimeout(() => { console.log("silence"); process.exit(); }, 5000);
     socket.on("message", (text) => { console.log(String(text)); process.exit(); });`,
  ]);
  return output.trim();
}

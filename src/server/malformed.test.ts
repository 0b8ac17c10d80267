/** Requests that nobody can read, in each protocol that the server speaks. */
import assert from "node:assert/strict";
import { request } from "node:http";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import { startTestServer } from "../../test/support/server.ts";
import type { Logger } from "../base/logger.ts";
import { silentLogger } from "../base/logger.ts";

const path = "/weft.v1.AdminService/GetStatus";
/** A field of 200 octets of which none are there. */
const cutShort = Buffer.from([0x0a, 0xc8, 0x01]);

function post(socketPath: string, contentType: string, body: Buffer) {
  return new Promise<{ status: number | undefined; body: string; trailers: NodeJS.Dict<string> }>((resolve, reject) => {
    const headers = { "content-type": contentType, "content-length": body.length };
    request({ socketPath, method: "POST", path, headers }, (response) => {
      text(response).then(
        (content) => resolve({ status: response.statusCode, body: content, trailers: response.trailers }),
        reject,
      );
    })
      .on("error", reject)
      .end(body);
  });
}

test("a malformed request is refused as invalid, in one line of the log", async (t) => {
  const lines: { level: string; fields: unknown; message: unknown }[] = [];
  const recorder = (level: string) => (fields: unknown, message: unknown) =>
    void lines.push({ level, fields, message });
  const logger = {
    ...silentLogger,
    info: recorder("info"),
    warn: recorder("warn"),
    error: recorder("error"),
  } as Logger;
  const { server } = await startTestServer(t, { logger });
  lines.length = 0;
  const binary = await post(server.adminSocket, "application/proto", cutShort);
  assert.equal(binary.status, 400);
  assert.equal(JSON.parse(binary.body).code, "invalid_argument");
  const json = await post(server.adminSocket, "application/json", Buffer.from("{"));
  assert.equal(json.status, 400);
  assert.equal(JSON.parse(json.body).code, "invalid_argument");
  const envelope = Buffer.concat([Buffer.from([0, 0, 0, 0, cutShort.length]), cutShort]);
  const grpc = await post(server.adminSocket, "application/grpc+proto", envelope);
  assert.equal(grpc.trailers["grpc-status"], "3");
  assert.deepEqual(
    lines.map(({ level, message }) => `${level} ${message}`),
    Array(3).fill("info malformed request refused"),
  );
  const good = await post(server.adminSocket, "application/proto", Buffer.alloc(0));
  assert.equal(good.status, 200);
});

import assert from "node:assert/strict";
import { test } from "node:test";
import type { ConnectRouter, HandlerContext, ServiceImpl } from "@connectrpc/connect";
import type { AdminService, ListRequest } from "../api/generated/weft/v1/admin_pb.js";
import { ManualClock } from "../base/clock.ts";
import { ip } from "../base/ip.ts";
import { mac } from "../base/mac.ts";
import type { Endpoint } from "../model/resources.ts";
import { adminRoutes } from "./admin-service.ts";

test("more endpoints are listed than a call takes arguments", async () => {
  const endpoint: Endpoint = {
    id: "e",
    network: "blue",
    node: "h1",
    mac: mac("02:00:00:00:00:01"),
    ips: [ip("10.0.0.1")],
    attachment: "netns",
    sequence: 0,
  };
  const endpoints = new Map(Array.from({ length: 150_000 }, (_, number) => [number, endpoint]));
  const state = { endpoints, networks: new Map(), revision: 1 };
  const ledger = { state, clock: new ManualClock() };
  let list: ServiceImpl<typeof AdminService>["list"] | undefined;
  const router = { service: (_: unknown, service: ServiceImpl<typeof AdminService>) => (list = service.list) };
  adminRoutes(router as unknown as ConnectRouter, { ledger } as unknown as Parameters<typeof adminRoutes>[1]);
  const request = { kind: "endpoint", name: "", network: "", node: "" } as ListRequest;
  const answer = await list?.(request, {} as HandlerContext);
  assert.equal(answer?.resources?.length, endpoints.size);
});

import type { Agent } from "../../agent/agent.ts";
import { type Attachment, hasPort, isInPlace } from "../../agent/replica.ts";
import { milliseconds } from "../../base/duration.ts";
import { WeftError } from "../../base/errors.ts";
import type { IpAddress } from "../../base/ip.ts";
import { currentBoot } from "../../linux/boot.ts";
import type { PublishedPort } from "../../model/published-port.ts";
import type { Endpoint } from "../../model/resources.ts";
import { type DockerOwner, ownerOf, ownerText } from "./owner.ts";

/** Docker holds locks while it waits: what the server does not answer in this time fails, and may be tried again. */
const patience = milliseconds(800);

/** An endpoint of weft's that Docker has or is about to have. */
export interface EngineEndpoint {
  readonly attachment: Attachment;
  readonly owner: DockerOwner;
  readonly endpoint: Endpoint;
}

/** What is attached on this node for Docker. */
export class EngineEndpoints {
  readonly #agent: Agent;
  readonly #boot = currentBoot();

  constructor(agent: Agent) {
    this.#agent = agent;
  }

  /** All of them, also such as are not Docker's to know yet. */
  *list(): Generator<EngineEndpoint> {
    for (const attachment of this.#agent.attached.values()) {
      const owner = ownerOf(attachment);
      const endpoint = this.#agent.desired.own.get(attachment.id);
      if (owner !== undefined && endpoint !== undefined && isInPlace(attachment)) yield { attachment, owner, endpoint };
    }
  }

  find(isWanted: (each: EngineEndpoint) => boolean): EngineEndpoint | undefined {
    return this.list().find(isWanted);
  }

  /** The one that Docker knows by this id. */
  get(id: string, attempted: string): EngineEndpoint {
    const found = this.find(({ owner }) => id !== "" && owner.endpoint === id);
    if (found !== undefined) return found;
    throw new WeftError({
      code: "not-found",
      attempted,
      reason: "weft has no such endpoint on this node, as after its network was deleted",
      hint: "start the container again, or connect it to the network again",
    });
  }

  /** An endpoint with these addresses, or such as the server or the node's blocks give, and an interface that Docker can take. */
  async attach(network: string, mac: string, ips: readonly IpAddress[]): Promise<Endpoint> {
    return this.#agent.attachments.attach({
      network,
      place: { kind: "sandbox", key: mac, netns: "" },
      mac,
      ips,
      allowedAddresses: [],
      labels: {},
      owner: ownerText({ mac, endpoint: "", boot: this.#boot }),
      patience,
    });
  }

  /** Docker has given it an id, and tells where the sandbox is as soon as it knows. */
  name({ attachment, owner }: EngineEndpoint, endpoint: string, netns?: string): void {
    const text = ownerText({ ...owner, endpoint });
    this.#agent.attachments.amend(attachment.id, { owner: text, ...(netns === undefined ? {} : { netns }) });
  }

  /** Lets these ports of the host, and no others, lead to the one that Docker knows by this id. */
  async publish(id: string, published: readonly PublishedPort[], attempted: string): Promise<void> {
    await this.#agent.attachments.publish(this.get(id, attempted).attachment.id, published, attempted);
  }

  /** Sees whether this node may have endpoints in a network that it hosts none of, and makes its agent know the network for a moment. */
  async tryNetwork<Value>(network: string, look: () => Value): Promise<Value> {
    const { attachments, attached } = this.#agent;
    const owner = ownerText({ mac: "", endpoint: "", boot: this.#boot });
    const held = await attachments.hold({
      network,
      interface: "docker network create",
      mac: "",
      ips: [],
      labels: {},
      owner,
      patience,
    });
    try {
      return look();
    } finally {
      const attachment = attached.get(held.id);
      // The server may be told later.
      if (attachment !== undefined) void attachments.releaseOwned(attachment);
    }
  }

  async release({ attachment }: Pick<EngineEndpoint, "attachment">): Promise<void> {
    await this.#agent.attachments.releaseOwned(attachment);
  }

  /** What an earlier boot, or a trial of an earlier run, left. */
  async releaseStale(): Promise<void> {
    const stale = [...this.#agent.attached.values()].filter((attachment) => {
      const owner = ownerOf(attachment);
      return owner !== undefined && (owner.boot !== this.#boot || !hasPort(attachment));
    });
    for (const attachment of stale) await this.release({ attachment });
  }
}

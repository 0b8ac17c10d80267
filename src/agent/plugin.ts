import type { RequestListener } from "node:http";
import type { Agent } from "./agent.ts";

/** What answers programs other than weft's own commands on the agent's socket, such as container runtimes. */
export interface AgentPlugin {
  /** The paths that it answers: `/cni`. */
  readonly paths: readonly string[];
  readonly answer: RequestListener;
  /** Catches up on what happened while no agent ran. Called before anybody can ask. */
  begin(): Promise<void>;
  /** The agent ends. Absent: nothing is under way then. */
  close?(): void;
}

/** `runDirectory`: where the agent's socket is. */
export type MakeAgentPlugin = (agent: Agent, runDirectory: string) => AgentPlugin;

import { seconds } from "../../base/duration.ts";
import type { IpAddress } from "../../base/ip.ts";
import type { EventLog } from "../event-log.ts";
import {
  type Answerer,
  PortAnswers,
  type PortAnswersOptions,
  type PortOfEndpoint,
  type Sources,
} from "../port-answers.ts";
import { AnsweringPort } from "./answering-port.ts";
import { configurationFrom } from "./configuration.ts";

export interface DhcpAnswersOptions extends Pick<PortAnswersOptions, "desired" | "dataplane" | "problems" | "clock"> {
  /** At least 0 and less than 1. */
  readonly random: () => number;
  readonly report: EventLog["add"];
}

/** One endpoint's complaints are told this often at most. */
const declinedInterval = seconds(60);

/** What answers endpoints of networks with `dhcp` what they ask for by DHCP and router solicitations. */
export function dhcpAnswers(options: DhcpAnswersOptions): PortAnswers {
  return new PortAnswers({
    ...options,
    problemKind: "DHCP of endpoint",
    isWanted: ({ dhcp }) => dhcp !== undefined,
    open: (port, sources) => answererOf(options, port, sources),
  });
}

function answererOf({ clock, random, report }: DhcpAnswersOptions, port: PortOfEndpoint, sources: Sources): Answerer {
  const { settings, endpoint } = sources;
  /** When it was last told that it declines its address. */
  let told: number | undefined;
  const onDeclined = (address: IpAddress): void => {
    const now = clock.monotonic();
    if (told !== undefined && now < told + declinedInterval) return;
    told = now;
    report({
      ...{ level: "warning", kind: "refused" },
      object: { kind: "endpoint", tenant: settings.tenant, network: settings.name, key: endpoint.id },
      message: `it declines ${address}, which DHCP gave it: somebody answered for that address when it asked`,
    });
  };
  const answering = new AnsweringPort({
    ...port,
    clock,
    random,
    configuration: configurationFrom(sources),
    onDeclined,
  });
  return {
    setSources: (changed) => answering.setConfiguration(configurationFrom(changed)),
    leave: () => answering.sayFarewell(),
    close: () => answering.close(),
  };
}

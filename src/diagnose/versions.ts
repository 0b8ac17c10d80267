import { complete } from "./finding.ts";
import { type ShownFinding, showFinding } from "./messages.ts";

/** Nodes that do not run what most run. */
export function skewedVersions(versions: ReadonlyMap<string, string>): readonly ShownFinding[] {
  const counts = new Map<string, number>();
  for (const version of versions.values()) counts.set(version, (counts.get(version) ?? 0) + 1);
  const [usual] = [...counts].sort(([, a], [, b]) => b - a)[0] ?? [""];
  return [...versions].flatMap(([node, version]) =>
    version === usual
      ? []
      : [
          showFinding(
            complete(
              {
                code: "version-skew",
                object: { kind: "node", key: node },
                expected: `weft ${usual}, as most nodes run`,
                found: `weft ${version}`,
              },
              node,
            ),
          ),
        ],
  );
}

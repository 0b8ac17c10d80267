/** Bytes as lower-case hexadecimal, two digits each, with an optional separator between them. */
export function toHex(bytes: Uint8Array, separator = ""): string {
  let text = "";
  for (let index = 0; index < bytes.length; index++) {
    if (index > 0) text += separator;
    text += hexByte[bytes[index] as number];
  }
  return text;
}

/** Bytes of hexadecimal text; white space between bytes is allowed. `undefined` when it is anything else. */
export function fromHex(text: string): Uint8Array | undefined {
  const digits = text.replace(/\s+/g, "");
  if (digits.length % 2 !== 0 || !/^[0-9a-fA-F]*$/.test(digits)) return undefined;
  const bytes = new Uint8Array(digits.length / 2);
  for (let index = 0; index < bytes.length; index++)
    bytes[index] = Number.parseInt(digits.slice(index * 2, index * 2 + 2), 16);
  return bytes;
}

export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let index = 0; index < a.length; index++) if (a[index] !== b[index]) return false;
  return true;
}

/** The text of each byte value, so that printing addresses in bulk allocates nothing but the result. */
export const hexByte: readonly string[] = Array.from({ length: 256 }, (_, value) =>
  value.toString(16).padStart(2, "0"),
);

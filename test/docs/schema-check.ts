/** Checks a value against a JSON Schema, as far as the stored schemas use it. Returns the offences, a line each. */
export type Schema = Readonly<Record<string, unknown>>;

const typeOf = (value: unknown): string =>
  value === null ? "null" : Array.isArray(value) ? "array" : typeof value;

export function offences(
  value: unknown,
  schema: Schema,
  definitions: Readonly<Record<string, Schema>>,
  at = "",
): string[] {
  const check = (v: unknown, s: Schema, where = at): string[] => offences(v, s, definitions, where);
  const { $ref: reference, anyOf, enum: choices, const: only, type, properties, required, items } = schema;
  if (typeof reference === "string")
    return check(value, definitions[decodeURIComponent(reference.split("/").at(-1)!)]!);
  if (Array.isArray(anyOf))
    return anyOf.some((one: Schema) => check(value, one).length === 0)
      ? []
      : [`${at}: fits none of ${anyOf.length}`];
  if (Array.isArray(choices) && !choices.includes(value))
    return [`${at}: ${JSON.stringify(value)} is no choice`];
  if ("const" in schema && only !== value)
    return [`${at}: ${JSON.stringify(value)} is not ${JSON.stringify(only)}`];
  const allowed = typeof type === "string" ? [type] : ((type as string[] | undefined) ?? [typeOf(value)]);
  if (!allowed.includes(typeOf(value)) && !(allowed.includes("integer") && Number.isInteger(value)))
    return [`${at}: ${typeOf(value)}, not ${allowed.join(" or ")}`];
  if (Array.isArray(value) && items !== undefined)
    return value.flatMap((one, i) => check(one, items as Schema, `${at}[${i}]`));
  if (typeOf(value) !== "object") return [];
  const fields = value as Readonly<Record<string, unknown>>;
  return [
    ...((required as string[] | undefined) ?? []).flatMap((name) =>
      name in fields ? [] : [`${at}.${name} is missing`],
    ),
    ...Object.entries((properties as Record<string, Schema> | undefined) ?? {}).flatMap(([name, one]) =>
      name in fields ? check(fields[name], one, `${at}.${name}`) : [],
    ),
  ];
}

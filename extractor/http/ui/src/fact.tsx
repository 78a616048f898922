// A line of a list of facts, where there is one to tell.

export function Fact({ name, value }: { name: string; value: string }) {
  return value === "" ? null : <><dt>{name}</dt><dd>{value}</dd></>;
}

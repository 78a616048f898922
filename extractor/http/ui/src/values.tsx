// What conversations are about: each property's values, counted, each to be asked for or ruled out.

import { values } from "./api";
import * as format from "./format";
import { rule, seek } from "./state";
import type { Property } from "./types";

export function Values() {
  const { value, busy } = values.value;
  if (value === null) return busy ? <p class="empty">Counting…</p> : null;
  if (value.properties.length === 0) return <p class="empty">No conversations in this range.</p>;
  return <div class="values">{value.properties.map((property) => <Counted key={property.name} property={property} all={value.totals.conversations} />)}</div>;
}

function Counted({ property, all }: { property: Property; all: number }) {
  const most = Math.max(1, ...property.values.map((one) => one.conversations));
  const more = property.distinct - property.values.length;
  return (
    <section class="counted">
      <h3>{format.words(property.name)} <small>{format.count(property.conversations)} of {format.count(all)} conversations{property.approximate && ", about"}</small></h3>
      <ul>
        {property.values.map((one) => {
          const demand = `${property.name}:${format.quoted(one.value)}`;
          return (
            <li key={one.value} title={`${format.count(one.packets)} packets, ${format.bytes(one.bytes)}`}>
              <progress max={most} value={one.conversations} aria-hidden="true" />
              <span class="name">{one.value}</span>
              <span class="amount">{format.count(one.conversations)}</span>
              <button type="button" class="icon" title={`Only ${demand}`} aria-label={`Only ${demand}`} onClick={() => seek(demand)}>+</button>
              <button type="button" class="icon" title={`Without ${demand}`} aria-label={`Without ${demand}`} onClick={() => rule(demand)}>−</button>
            </li>
          );
        })}
      </ul>
      {more > 0 && <p class="empty">and {format.count(more)} more</p>}
    </section>
  );
}

// Who talks to whom: a graph beside a matrix, and a map of the world where the service knows places. The map is loaded when it is asked for.

import { useEffect, useRef, useState } from "preact/hooks";
import { largest, summary } from "./api";
import { Graph, Matrix, useWidth } from "./graph";
import { Sankey } from "./sankey";
import { servicesOf, type Services } from "./services";
import { isDark, look, looked, narrow } from "./state";
import type { Summary } from "./types";

type Drawing = typeof import("./drawing");

export function Pictures() {
  const value = summary.value.value;
  const { picture, ends, beside } = looked.value;
  if (value === null) return null;
  const hasPlaces = Object.values(value.places ?? {}).some((place) => place.latitude !== undefined);
  return (
    <section class="card pictures">
      <h2>Who talks to whom
        <span class="choice" role="group" aria-label="Picture">
          <button type="button" aria-pressed={picture === "graph"} onClick={() => look({ picture: "graph" })}>Graph</button>
          <button type="button" aria-pressed={picture === "map"} onClick={() => look({ picture: "map" })}>World</button>
        </span>
        {picture === "graph" && (
          <>
            <span class="choice" role="group" aria-label="What hosts talk to">
              <button type="button" aria-pressed={ends === "hosts"} onClick={() => look({ ends: "hosts" })}>Hosts</button>
              <button type="button" aria-pressed={ends === "services"} title="Servers fold into the service that they offer" onClick={() => look({ ends: "services" })}>Services</button>
            </span>
            <span class="choice" role="group" aria-label="Beside the graph">
              <button type="button" aria-pressed={beside === "matrix"} onClick={() => look({ beside: "matrix" })}>Matrix</button>
              <button type="button" aria-pressed={beside === "sankey"} title="Clients, services, servers" onClick={() => look({ beside: "sankey" })}>Sankey</button>
            </span>
          </>
        )}
        <small>Click a host to show only its traffic.</small>
      </h2>
      {picture === "map" && !hasPlaces
        ? <p class="empty">No address here has a known location. Locations come from a GeoIP database: <code>netrewind serve --geoip FILE.mmdb</code></p>
        : value.edges.length === 0 ? <p class="empty">No traffic between hosts in this range.</p>
        : picture === "map" ? <Picture value={value} dark={isDark.value} />
        : <Network value={value} />}
    </section>
  );
}

const NO_SERVICES: Services = { services: new Map(), edges: [], bands: [] };

/** The graph, of hosts or of services, and what stands beside it. */
function Network({ value }: { value: Summary }) {
  const { ends, beside } = looked.value;
  const page = largest.value.value;
  const byService = page === null ? NO_SERVICES : servicesOf(page.flows);
  const pairs = ends === "services" ? { edges: byService.edges, services: byService.services, ends } : { edges: value.edges, services: NO_SERVICES.services, ends };
  const isPart = (ends === "services" || beside === "sankey") && page?.next != null;
  return (
    <>
      <div class="picture network">
        {pairs.edges.length === 0 ? <div class="graph" /> : <Graph {...pairs} />}
        {beside === "sankey" ? <Beside of={byService} /> : <Matrix {...pairs} />}
      </div>
      {isPart && <p class="folded">Services are those of the {page.flows.length} largest conversations.</p>}
    </>
  );
}

function Beside({ of }: { of: Services }) {
  const { box, width } = useWidth();
  return <div class="beside" ref={box}>{width > 0 && <Sankey of={of} width={width} />}</div>;
}

function Picture({ value, dark }: { value: Summary; dark: boolean }) {
  const place = useRef<HTMLDivElement>(null);
  const [drawing, setDrawing] = useState<Drawing | null>(null);
  useEffect(() => {
    import("./drawing").then(setDrawing).catch(() => undefined);
  }, []);
  const drawn = useRef<ReturnType<Drawing["draw"]> | null>(null);
  useEffect(() => {
    const element = place.current;
    if (drawing === null || element === null) return;
    const chart = drawing.draw(element, dark, narrow);
    drawn.current = chart;
    const watch = new ResizeObserver(() => {
      // On its way out of the page it has no size, which a chart cannot have.
      if (element.clientWidth > 0) chart.resize();
    });
    watch.observe(element);
    return () => {
      watch.disconnect();
      chart.dispose();
      drawn.current = null;
    };
  }, [drawing, dark]);
  useEffect(() => drawn.current?.show(value), [value, drawing, dark]);
  return <div ref={place} class="picture map" role="img" aria-label="Hosts and the traffic between them; the same numbers are in the lists" />;
}

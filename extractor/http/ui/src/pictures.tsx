// Who talks to whom: a graph beside a matrix, and a map of the world where the service knows places. The map is loaded when it is asked for.

import { useEffect, useRef, useState } from "preact/hooks";
import { summary } from "./api";
import { Graph, Matrix } from "./graph";
import { isDark, look, looked, narrow } from "./state";
import type { Summary } from "./types";

type Drawing = typeof import("./drawing");

export function Pictures() {
  const value = summary.value.value;
  const { picture } = looked.value;
  if (value === null) return null;
  const hasPlaces = Object.values(value.places ?? {}).some((place) => place.latitude !== undefined);
  return (
    <section class="card pictures">
      <h2>Who talks to whom
        <span class="choice" role="group" aria-label="Picture">
          <button type="button" aria-pressed={picture === "graph"} onClick={() => look({ picture: "graph" })}>Graph</button>
          <button type="button" aria-pressed={picture === "map"} onClick={() => look({ picture: "map" })}>World</button>
        </span>
        <small>Click a host to show only its traffic.</small>
      </h2>
      {picture === "map" && !hasPlaces
        ? <p class="empty">No address here has a known location. Locations come from a GeoIP database: <code>netrewind serve --geoip FILE.mmdb</code></p>
        : value.edges.length === 0 ? <p class="empty">No traffic between hosts in this range.</p>
        : picture === "map" ? <Picture value={value} dark={isDark.value} />
        : <div class="picture network"><Graph edges={value.edges} /><Matrix edges={value.edges} /></div>}
    </section>
  );
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

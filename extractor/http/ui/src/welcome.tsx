// What to run where nothing is stored.

import { status } from "./api";

export function Welcome() {
  const { value } = status.value;
  const store = typeof value?.["store"] === "string" ? value["store"] : "STORE";
  const isRecording = typeof value?.["packets_per_second"] === "number";
  return (
    <section class="card welcome">
      <h2>Nothing is stored yet</h2>
      {isRecording
        ? <p>A recorder is running, and no packet has come. Does the interface receive anything? <code>tcpdump -i INTERFACE -c 5</code></p>
        : (
          <>
            <p>Record an interface, as root:</p>
            <pre>netrewind record --store {store} --budget 100GiB --interface eth0</pre>
            <p>or import capture files:</p>
            <pre>netrewind import --store {store} capture.pcap</pre>
          </>
        )}
      <p class="empty">The page shows what there is as soon as the first packet is stored.</p>
    </section>
  );
}

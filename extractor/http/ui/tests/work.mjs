// Works with the page as an analyst would, and lets axe look at each state: node tests/work.mjs URL FOLDER
//
// The store behind URL holds what tests/view.rs put there.

import assert from "node:assert/strict";
import { drives, examine } from "./browser.mjs";

const [address, folder] = process.argv.slice(2);
const DESK = { width: 1280, height: 900 };
/** States that are looked at in dark colours too: together they have all parts of the page. */
const DARK = ["main", "services", "packet", "labels", "split", "host"];
/** A slow line, in bytes a second, and how long data may take over it once the page itself is there. */
const SLOW_BYTES = 50_000;
const SLOW_MS = 2000;

// A wrong time is answered with 400, which browsers print as an error.
await drives(folder, ["status of 400"], async ({ context, page, seen, shot }) => {
  const settled = () => page.waitForFunction(() => document.querySelector("[aria-busy=true]") === null);
  const rows = page.locator(".lists tbody tr");
  const parameters = () => new URL(page.url()).searchParams;
  const press = (name, part = page) => part.getByRole("button", { name, exact: true }).click();

  /** What axe finds wrong, in both colours and at both widths. */
  const look = async (state) => {
    await settled();
    await examine(page, shot, state, { dark: DARK.includes(state) });
  };

  // Without a range the page opens on the data there is, though it is old.
  await page.setViewportSize(DESK);
  await page.goto(address);
  await rows.first().waitFor();
  await page.waitForURL(/from=.*to=/);
  seen.opened = { from: parameters().get("from"), to: parameters().get("to") };
  await page.locator(".graph circle").first().waitFor();
  seen.nodes = await page.locator(".graph circle").count();
  await look("main");

  // The graph stays where it is when there is another answer.
  const places = () => page.locator(".graph circle").evaluateAll((all) => all.map((one) => `${one.getAttribute("cx")} ${one.getAttribute("cy")}`));
  const before = await places();
  await page.goto(`${address}?from=all`);
  await rows.first().waitFor();
  await settled();
  const whole = await places();
  await press("packets/s");
  await settled();
  assert.deepEqual(await places(), whole);
  seen.moved = before.length;
  await press("bits/s");

  // By service, and a Sankey beside it; the keyboard goes from node to node.
  await page.getByRole("button", { name: "Services", exact: true }).click();
  await page.waitForURL(/ends=services/);
  await page.locator(".graph circle.service").first().waitFor();
  await press("Sankey");
  await page.waitForURL(/beside=sankey/);
  await page.locator(".sankey rect").first().waitFor();
  await settled();
  seen.services = await page.locator(".graph circle.service").evaluateAll((all) => all.map((one) => one.getAttribute("aria-label")));
  seen.sankey = await page.locator(".sankey [role=button]").evaluateAll((all) => all.map((one) => one.getAttribute("aria-label")));
  await look("services");
  const stops = async (selector) => page.locator(`${selector} [data-rove]`).evaluateAll((all) => all.filter((one) => one.tabIndex === 0).length);
  assert.deepEqual([await stops(".graph"), await stops(".sankey")], [1, 1], "one stop of the Tab key each");
  await page.locator(".graph circle[tabindex='0']").focus();
  const focused = () => page.evaluate(() => document.activeElement.getAttribute("aria-label"));
  const largest = await focused();
  await page.keyboard.press("ArrowRight");
  assert.notEqual(await focused(), largest);
  await page.keyboard.press("Home");
  assert.equal(await focused(), largest);
  await page.keyboard.press("Enter");
  await page.waitForURL(/filter=/);
  seen.by_keyboard = parameters().get("filter");
  await page.goBack();
  await settled();
  const of_services = await places();
  await press("Hosts");
  await settled();
  assert.deepEqual(await places(), whole, "hosts stand where they stood");
  await press("Services");
  await settled();
  assert.deepEqual(await places(), of_services, "services too");
  await press("Hosts");
  await press("Matrix");
  await page.locator(".matrix [data-rove][tabindex='0']").focus();
  await page.keyboard.press("ArrowDown");
  seen.cell = await focused();

  // Packets, page by page, and the bytes of one.
  await press("Packets", page.locator(".tabs"));
  await page.locator(".packet-table tbody tr").first().waitFor();
  seen.first = await rows.first().innerText();
  const first = await rows.count();
  await page.getByRole("button", { name: /^Next/ }).click();
  await page.waitForURL(/at=/);
  await page.waitForFunction((text) => document.querySelector(".lists tbody tr")?.innerText !== text && document.querySelector("[aria-busy=true]") === null, seen.first);
  seen.second = await rows.first().innerText();
  assert.equal(await rows.first().locator("td").first().innerText(), String(first + 1));
  await look("packets");
  await rows.nth(3).click();
  await page.locator(".panel pre.bytes").waitFor();
  seen.bytes = await page.locator(".panel pre.bytes").innerText();
  await look("packet");
  const steps = await page.evaluate(() => history.length);
  await page.keyboard.press("Escape");
  await page.locator(".panel").waitFor({ state: "detached" });
  assert.equal(await page.evaluate(() => history.length), steps, "Escape is no step of the way back");

  // Labels: one is asked for, another ruled out.
  await press("Labels", page.locator(".tabs"));
  await page.locator(".counted").first().waitFor();
  seen.properties = await page.locator(".counted h3").allInnerTexts();
  await look("labels");
  await page.getByRole("button", { name: 'Without server_port:"80"' }).click();
  await page.waitForURL(/NOT/);
  await page.locator(".series .empty").waitFor();
  await page.goBack();
  await page.getByRole("button", { name: 'Only http_host:"www.example.com"' }).click();
  await page.waitForURL((url) => url.searchParams.get("search") === 'http_host:"www.example.com"');
  await settled();
  await page.goBack();

  // Both ways of sorting.
  await press("Conversations", page.locator(".tabs"));
  await rows.first().waitFor();
  const bytes = async () => rows.first().locator("td").last().innerText();
  const most = await bytes();
  await page.locator("thead button", { hasText: "Bytes" }).click();
  await page.waitForURL(/reverse=true/);
  await page.waitForFunction((most) => document.querySelector(".lists tbody tr td:last-child")?.innerText !== most, most);
  assert.equal(await page.locator("th[aria-sort=ascending]").innerText(), "Bytes ▴");

  // Series by application and by host, and what was sent again.
  await press("By application");
  await page.waitForURL(/split=application/);
  await page.locator(".u-legend", { hasText: "http" }).waitFor();
  await press("By host");
  await page.locator(".u-legend", { hasText: "10.0.0." }).waitFor();
  await press("retransmissions/s");
  await page.waitForURL(/unit=retransmissions/);
  await look("split");
  await press("Total");
  await settled();

  // A host.
  const host = await page.locator(".tops .top li .name").first().innerText();
  await press(`About ${host}`);
  await page.locator(".panel .facts li").first().waitFor();
  seen.host = await page.locator(".panel").innerText();
  assert.ok(seen.host.includes("First seen") && seen.host.includes("www.example.com"), seen.host);
  await look("host");
  await page.keyboard.press("Escape");

  // To earlier and back, by steps and by the calendar; in the time zone that is said.
  await press("All");
  await settled();
  await press("Earlier");
  await page.waitForURL(/to=/);
  const [from, to] = [Date.parse(parameters().get("from")), Date.parse(parameters().get("to"))];
  await page.waitForFunction(() => document.querySelector(".range .steps button:last-child").disabled === false);
  await settled();
  await press("Later");
  await page.waitForFunction((from) => Date.parse(new URL(location.href).searchParams.get("from")) > from, from);
  assert.ok(to > from);
  await press("Pick From from a calendar");
  await page.getByLabel("From, date and time").fill("2026-11-22T09:20:05");
  await look("calendar");
  await press("Set");
  await page.waitForURL(/2026-11-22T09%3A20%3A05/);
  seen.zone = await page.locator(".zone").innerText();

  // Searches are kept under a name, as links.
  await page.getByRole("button", { name: /^Saved/ }).click();
  await page.locator(".saved input[name=name]").fill("from twenty past");
  await press("Save this view");
  const link = page.locator(".saved a", { hasText: "from twenty past" });
  await link.waitFor();
  await look("saved");
  await page.reload();
  await page.getByRole("button", { name: "Saved (1)" }).click();
  assert.match(await link.getAttribute("href"), /2026-11-22T09%3A20/);

  // What is wrong is told once, at its field.
  await page.goto(`${address}?from=yesterdayish`);
  await page.locator("#range-problem").waitFor();
  assert.equal(await page.locator("[role=alert]:not(:empty)").count(), 1);
  seen.wrong = await page.locator("#range-problem").innerText();
  await look("wrong");

  // Over a slow line data is there soon after the page itself.
  const slow = await context.newPage();
  const cdp = await context.newCDPSession(slow);
  await cdp.send("Network.enable");
  await cdp.send("Network.emulateNetworkConditions", { offline: false, latency: 20, downloadThroughput: SLOW_BYTES, uploadThroughput: SLOW_BYTES });
  await slow.goto(`${address}?from=all`, { waitUntil: "commit" });
  await slow.locator(".toolbar").waitFor();
  const begun = Date.now();
  await slow.locator(".lists tbody tr").first().waitFor();
  await slow.locator(".graph circle").first().waitFor();
  seen.slow_ms = Date.now() - begun;
  assert.ok(seen.slow_ms <= SLOW_MS, `data came after ${seen.slow_ms} ms`);
});

// Looks where nothing is, follows the hint, and takes a conversation that no filter finds: node tests/hint.mjs URL FOLDER
//
// The store behind URL holds tagged conversations, one of them with ports behind an IPv6 extension header.

import assert from "node:assert/strict";
import { join } from "node:path";
import { drives } from "./browser.mjs";

const [address, folder] = process.argv.slice(2);

await drives(folder, [], async ({ page, seen, shot }) => {
  const settled = () => page.waitForFunction(() => document.querySelector("[aria-busy=true]") === null);
  const save = async (link, name) => {
    const [file] = await Promise.all([page.waitForEvent("download"), link.click()]);
    await file.saveAs(join(folder, name));
    return link.getAttribute("href");
  };

  await page.goto(`${address}?from=all&filter=udp`);
  const hint = page.locator(".series .hint");
  await hint.waitFor();
  seen.hint = await hint.innerText();
  await shot("hint");
  await hint.getByRole("button", { name: "Show them" }).click();
  await page.waitForURL(/untagged=true/);
  await page.locator(".lists tbody tr").first().waitFor();
  await settled();
  assert.equal(await hint.count(), 0);
  assert.ok(await page.getByLabel("ignore VLAN tags").isChecked());
  seen.there = await page.locator(".series .totals b").nth(1).innerText();

  await page.goto(`${address}?from=all&search=${encodeURIComponent("packets:>2")}`);
  await page.locator(".lists tbody tr").first().waitFor();
  await settled();
  seen.found = await page.locator(".series .totals b").nth(1).innerText();
  const packets = page.locator(".packets");
  seen.found_at = await save(packets.getByRole("link", { name: "Download pcap" }), "found.pcap");
  seen.command = await packets.getByRole("button", { name: "Copy Wireshark command" }).getAttribute("title");

  await page.locator(".lists tbody tr").first().click();
  const panel = page.locator(".panel");
  await panel.locator("dl").waitFor();
  seen.flow_at = await save(panel.getByRole("link", { name: "Download pcap" }), "flow.pcap");
  seen.flow_command = await panel.getByRole("button", { name: "Copy Wireshark command" }).getAttribute("title");
  await panel.getByRole("button", { name: "Follow stream" }).click();
  await panel.locator(".chunks pre").first().waitFor();
  seen.stream = await panel.locator(".chunks").innerText();
  await shot("flow");
  await panel.getByRole("button", { name: "Show only this conversation" }).click();
  await page.waitForURL(/community_id/);
  await page.waitForFunction((before) => document.querySelectorAll(".series .totals b")[1]?.innerText !== before, seen.found);
  await settled();
  seen.narrowed = await page.locator(".series .totals b").nth(1).innerText();
});

// Looks for a list of addresses, and goes to the packets of one: node tests/list.mjs URL FOLDER LIST

import { drives, examine } from "./browser.mjs";

const [address, folder, file] = process.argv.slice(2);

// A list with a fault is answered with 400, which browsers print as an error.
await drives(folder, ["status of 400"], async ({ page, seen, shot }) => {
  const look = (state) => examine(page, shot, state, { arrange: () => page.locator(".lists").scrollIntoViewIfNeeded() });
  const rows = page.locator(".hit-table tbody tr");
  const cells = () => rows.evaluateAll((all) => all.map((row) => [...row.querySelectorAll("td")].map((cell) => cell.getAttribute("title") ?? cell.innerText)));
  await page.goto(`${address}?from=all`);
  await page.locator(".lists tbody tr").first().waitFor();
  await page.locator(".tabs").getByRole("button", { name: "List", exact: true }).click();
  await page.locator("#list-text").fill("10.0.0.10\nexample.com\n");
  await page.getByRole("button", { name: "Look for them" }).click();
  await page.locator("#list-problem:not(:empty)").waitFor();
  seen.problem = await page.locator("#list-problem").innerText();
  await look("list-problem");

  await page.locator(".hits input[type=file]").setInputFiles(file);
  await rows.first().waitFor();
  seen.found = await page.locator(".found [role=status]").innerText();
  seen.rows = await cells();
  await look("list");

  // Something else is looked at: what was found is old, and is looked for again.
  await page.getByRole("button", { name: "tcp 80" }).first().click();
  await page.waitForURL(/filter=/);
  await page.locator(".found.old").waitFor();
  await page.goBack();
  await page.locator(".found:not(.old)").waitFor();

  // To the packets of one, by the keyboard.
  await rows.first().focus();
  await page.keyboard.press("Enter");
  await page.waitForURL(/tab=packets/);
  await page.locator(".packet-table tbody tr").first().waitFor();
  await page.waitForFunction(() => document.querySelector("[aria-busy=true]") === null);
  seen.filter = new URL(page.url()).searchParams.get("filter");
  seen.totals = await page.locator(".series .totals").innerText();

  // Ports.
  await page.goto(`${address}?from=all&tab=hits`);
  await page.getByRole("button", { name: "Ports", exact: true }).click();
  await page.locator("#list-text").fill("40000\n40002-40003\n");
  await page.getByRole("button", { name: "Look for them" }).click();
  await page.locator(".found").waitFor();
  seen.ports = await page.locator(".found [role=status]").innerText();
  await page.getByRole("button", { name: "Show all these packets" }).click();
  await page.waitForURL(/filter=/);
  seen.ports_filter = new URL(page.url()).searchParams.get("filter");
});

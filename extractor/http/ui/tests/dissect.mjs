// Looks at a packet that sharkd has taken apart: node tests/dissect.mjs URL FOLDER URL_WITH_A_FAILING_SHARKD

import assert from "node:assert/strict";
import { drives, examine } from "./browser.mjs";

const [address, folder, failing] = process.argv.slice(2);

await drives(folder, ["status of 500"], async ({ page, seen, shot }) => {
  const settled = () => page.waitForFunction(() => document.querySelector("[aria-busy=true]") === null);
  const look = (state) => examine(page, shot, state);
  const open = async (base) => {
    await page.goto(`${base}?from=all&tab=packets&filter=port+40000`);
    await page.locator(".packet-table tbody tr").nth(3).click();
    await page.locator(".panel pre.bytes").waitFor();
  };
  const marked = () => page.locator(".panel pre.bytes mark").first().innerText();

  await open(address);
  await page.locator(".tree details").first().waitFor();
  await settled();
  seen.layers = await page.locator(".tree > details > summary").allInnerTexts();
  await look("tree");

  // A field marks its bytes, by the mouse and by the keyboard.
  const tcp = page.locator(".tree > details", { hasText: "Transmission Control Protocol" });
  await tcp.locator("> summary").click();
  await tcp.locator(".field", { hasText: "Destination Port" }).first().click();
  seen.port = await marked();
  const http = page.locator(".tree > details > summary", { hasText: "Hypertext Transfer Protocol" });
  await http.focus();
  await page.keyboard.press("Enter");
  const host = page.locator(".tree .field, .tree summary").filter({ hasText: /^Host: / }).first();
  await host.focus();
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.querySelector(".chosen")?.textContent.startsWith("Host: "));
  seen.host = (await marked()).slice(0, 11);
  await look("field");

  // A byte tells its field: the time to live is the 23rd byte of the packet.
  const line = await page.locator(".panel pre.bytes > span").nth(1).boundingBox();
  const letter = await page.evaluate(() => {
    const range = document.createRange();
    const text = document.querySelector(".panel pre.bytes > span").firstChild;
    range.setStart(text, 0);
    range.setEnd(text, 1);
    return range.getBoundingClientRect().width;
  });
  await page.mouse.click(line.x + (8 + 6 * 3 + 0.8) * letter, line.y + line.height / 2);
  await page.waitForFunction(() => !document.querySelector(".chosen")?.textContent.startsWith("Host: "));
  seen.by_byte = await page.locator(".chosen").innerText();

  // A dissector that fails is an error at the panel; the bytes are there.
  await open(failing);
  await page.locator(".dissection .problem").waitFor();
  seen.failed = await page.locator(".dissection .problem").innerText();
  await settled();
  assert.equal(await page.locator(".trouble").count(), 0);
  await look("failed");
});

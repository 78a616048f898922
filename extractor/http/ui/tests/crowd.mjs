// Looks at hundreds of pairs of hosts with long addresses: node tests/crowd.mjs URL FOLDER

import assert from "node:assert/strict";
import { drives } from "./browser.mjs";

const [address, folder] = process.argv.slice(2);
const NODES_MAX = 60;

await drives(folder, [], async ({ page, seen, shot }) => {
  for (const [name, width, height] of [["desk", 1280, 900], ["phone", 390, 844]]) {
    await page.setViewportSize({ width, height });
    await page.goto(`${address}?from=all`);
    await page.locator(".graph circle").first().waitFor();
    await page.locator(".lists tbody tr").first().waitFor();
    await page.waitForTimeout(300);
    const { circles, texts, box } = await page.evaluate(() => {
      const boxes = (selector) => [...document.querySelectorAll(selector)].map((one) => {
        const { left, right, top, bottom } = one.getBoundingClientRect();
        return { left, right, top, bottom, words: one.textContent };
      });
      return { circles: boxes(".graph circle"), texts: boxes(".graph text"), box: boxes(".graph")[0] };
    });
    seen[name] = { nodes: circles.length, labels: texts.map((text) => text.words) };
    assert.ok(circles.length <= NODES_MAX, `${circles.length} nodes`);
    for (const one of [...circles, ...texts]) {
      assert.ok(one.left >= box.left - 1 && one.right <= box.right + 1 && one.top >= box.top - 1 && one.bottom <= box.bottom + 1, `${one.words} is in its card`);
    }
    texts.forEach((one, at) => texts.slice(at + 1).forEach((other) => {
      const apart = one.right <= other.left || other.right <= one.left || one.bottom <= other.top + 3 || other.bottom <= one.top + 3;
      assert.ok(apart, `${one.words} and ${other.words} collide`);
    }));
    for (const tab of ["Packets", "Conversations"]) {
      await page.locator(".tabs").getByRole("button", { name: tab }).click();
      await page.locator(".lists tbody tr").first().waitFor();
      const wide = await page.evaluate(() => document.documentElement.scrollWidth);
      assert.ok(wide <= width, `${tab} are ${wide} pixels wide of ${width}`);
      const cut = await page.locator(".lists tbody .end").evaluateAll((all) => all.filter((one) => one.scrollWidth > one.clientWidth + 1).length);
      assert.equal(cut, 0, "whole addresses are to be read");
    }
    await page.locator(".pictures").scrollIntoViewIfNeeded();
    await shot(`crowd-${name}`);
  }
});

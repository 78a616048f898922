// Looks at hundreds of pairs of hosts with long addresses: node tests/crowd.mjs URL FOLDER

import assert from "node:assert/strict";
import { drives } from "./browser.mjs";

const [address, folder] = process.argv.slice(2);
const NODES_MAX = 60;

/** Nodes and labels of a picture, which are in their card and do not collide. */
async function drawn(page, card) {
  const { circles, texts, box } = await page.evaluate((card) => {
    const boxes = (selector) => [...document.querySelectorAll(selector)].map((one) => {
      const { left, right, top, bottom } = one.getBoundingClientRect();
      return { left, right, top, bottom, words: one.textContent };
    });
    return { circles: boxes(`${card} circle, ${card} rect`), texts: boxes(`${card} text`), box: boxes(card)[0] };
  }, card);
  for (const one of [...circles, ...texts]) {
    assert.ok(one.left >= box.left - 1 && one.right <= box.right + 1 && one.top >= box.top - 1 && one.bottom <= box.bottom + 1, `${one.words} is in its card`);
  }
  texts.forEach((one, at) => texts.slice(at + 1).forEach((other) => {
    const apart = one.right <= other.left || other.right <= one.left || one.bottom <= other.top + 3 || other.bottom <= one.top + 3;
    assert.ok(apart, `${one.words} and ${other.words} collide`);
  }));
  return { nodes: circles.length, labels: texts.map((text) => text.words) };
}

await drives(folder, [], async ({ page, seen, shot }) => {
  for (const [name, width, height] of [["desk", 1280, 900], ["phone", 390, 844]]) {
    await page.setViewportSize({ width, height });
    await page.goto(`${address}?from=all`);
    await page.locator(".graph circle").first().waitFor();
    await page.locator(".lists tbody tr").first().waitFor();
    await page.waitForTimeout(300);
    for (const ends of ["hosts", "services"]) {
      if (ends === "services") {
        await page.getByRole("button", { name: "Services", exact: true }).click();
        await page.getByRole("button", { name: "Sankey", exact: true }).click();
        await page.locator(".sankey rect").first().waitFor();
        await page.waitForTimeout(300);
      }
      seen[`${name}-${ends}`] = await drawn(page, ".graph");
      assert.ok(seen[`${name}-${ends}`].nodes <= NODES_MAX, `${seen[`${name}-${ends}`].nodes} nodes`);
    }
    await drawn(page, ".beside");
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

// Looks at the map of the world: node tests/map.mjs URL FOLDER
//
// The store behind URL holds what tests/places.rs put there.

import assert from "node:assert/strict";
import { drives } from "./browser.mjs";

const [address, folder] = process.argv.slice(2);

await drives(folder, [], async ({ page, seen, shot }) => {
  await page.goto(`${address}?from=all`);
  await page.locator(".graph circle").first().waitFor();
  seen.hosts = await page.locator(".tops .top").first().locator("li").evaluateAll((rows) =>
    rows.map((row) => [row.querySelector(".name").innerText, row.querySelector(".note").innerText, row.querySelector("button").title]));
  await page.getByRole("button", { name: "World" }).click();
  await page.waitForURL(/picture=map/);
  await page.waitForTimeout(1500);
  await page.locator(".pictures").scrollIntoViewIfNeeded();
  await shot("map");

  // Where the map has its accent colour, there is a host: its place in degrees, from the bounds of what is drawn.
  seen.marks = await page.evaluate(() => {
    // A picture has layers.
    const [lowest, ...others] = document.querySelectorAll(".picture canvas");
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [lowest.width, lowest.height];
    const context = canvas.getContext("2d");
    for (const layer of [lowest, ...others]) context.drawImage(layer, 0, 0);
    const { data, width, height } = context.getImageData(0, 0, canvas.width, canvas.height);
    const accent = getComputedStyle(document.documentElement).getPropertyValue("--accent").trim();
    const wanted = [1, 3, 5].map((at) => parseInt(accent.slice(at, at + 2), 16));
    const near = (at, colour, by) => data[at + 3] > 100 && colour.every((part, index) => Math.abs(data[at + index] - part) < by);
    const marks = [];
    let land = [Infinity, -Infinity];
    for (let y = 0; y < height; y += 1) {
      for (let x = 0; x < width; x += 1) {
        const at = (y * width + x) * 4;
        if (data[at + 3] > 100) land = [Math.min(land[0], x), Math.max(land[1], x)];
        if (!near(at, wanted, 40)) continue;
        const mark = marks.find((one) => Math.hypot(one.x / one.n - x, one.y / one.n - y) < 30);
        if (mark === undefined) marks.push({ x, y, n: 1 });
        else { mark.x += x; mark.y += y; mark.n += 1; }
      }
    }
    return { land, marks: marks.map(({ x, y, n }) => [x / n, y / n]), scale: lowest.width / lowest.clientWidth };
  });
  assert.equal(seen.marks.marks.length, 2, JSON.stringify(seen.marks));

  // A click on the more eastern one narrows to it.
  const [east] = seen.marks.marks.toSorted((a, b) => b[0] - a[0]);
  await page.locator(".picture").click({ position: { x: east[0] / seen.marks.scale, y: east[1] / seen.marks.scale } });
  await page.waitForURL(/filter=/);
  seen.filter = new URL(page.url()).searchParams.get("filter");
  await page.fill("#filter", "port 1");
  await page.press("#filter", "Enter");
  await page.locator(".pictures .empty").waitFor();
  seen.empty = await page.locator(".pictures .empty").innerText();
});

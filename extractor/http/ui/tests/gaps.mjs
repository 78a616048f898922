// Looks at a time in which nothing was recorded: node tests/gaps.mjs URL FOLDER
//
// The store behind URL was recorded twice, with some seconds between.

import { drives } from "./browser.mjs";

const [address, folder] = process.argv.slice(2);

await drives(folder, [], async ({ page, seen, shot }) => {
  await page.goto(`${address}?from=all`);
  await page.locator(".series canvas").first().waitFor();
  const totals = page.locator(".series .totals");
  await totals.locator(".bad").waitFor();
  seen.totals = await totals.innerText();
  seen.title = await totals.locator(".bad").getAttribute("title");
  const { from, to, gaps: [gap] } = await (await page.request.get(`${address}api/v1/summary?buckets=300`)).json();
  const share = (at) => (Date.parse(at) - Date.parse(from)) / (Date.parse(to) - Date.parse(from));
  const middle = (share(gap.from) + share(gap.to)) / 2;
  seen.gap = [share(gap.from), share(gap.to)];
  await shot("gap");
  // Colour at the top of the plot: the line is far below it.
  const isRed = (place) => page.evaluate((place) => {
    const canvas = document.querySelector(".series canvas");
    const over = document.querySelector(".series .u-over").getBoundingClientRect();
    const all = canvas.getBoundingClientRect();
    const scale = canvas.width / all.width;
    const x = (over.left - all.left + over.width * place) * scale;
    const [red, , blue, alpha] = canvas.getContext("2d").getImageData(Math.round(x), Math.round((over.top - all.top + 6) * scale), 1, 1).data;
    return alpha > 10 && red > blue + 60;
  }, place);
  // It is drawn a moment after the words are there.
  for (let tries = 0; tries < 50 && !(await isRed(middle)); tries += 1) await page.waitForTimeout(100);
  seen.in_gap = await isRed(middle);
  seen.beside = await isRed(seen.gap[0] / 2);
});

// One stop of the Tab key for many things: the arrow keys go from one to the next.

const STEPS: Record<string, number> = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };

/** Goes on to another element with `data-rove` below the one that listens, or uses the one that is focused. */
export function rove(event: KeyboardEvent): void {
  const { currentTarget: group, target } = event;
  if (!(group instanceof Element) || !(target instanceof Element)) return;
  const all = [...group.querySelectorAll<HTMLElement | SVGElement>("[data-rove]")];
  const at = all.findIndex((one) => one === target);
  if (at < 0) return;
  if (event.key === "Enter" || event.key === " ") {
    event.preventDefault();
    target.dispatchEvent(new MouseEvent("click", { bubbles: true }));
    return;
  }
  const to = event.key === "Home" ? 0 : event.key === "End" ? all.length - 1 : at + (STEPS[event.key] ?? 0);
  const next = all[Math.min(Math.max(to, 0), all.length - 1)];
  if (next === undefined || next === target) return;
  event.preventDefault();
  next.focus();
}

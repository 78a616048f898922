// What was looked at before the reader signed in elsewhere: the issuer sends the browser back to the bare page.

const KEPT = "netrewind.looked";

/** Keeps it for the time until the browser comes back. */
export function keepAddress(): void {
  sessionStorage.setItem(KEPT, location.search);
}

const kept = sessionStorage.getItem(KEPT);
sessionStorage.removeItem(KEPT);
if (kept !== null && location.search === "") history.replaceState(null, "", `${location.pathname}${kept}`);

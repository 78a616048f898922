// Whether the service wants a token. What is asked waits meanwhile, and is asked again once there is a session.

import { signal } from "@preact/signals";
import { keepAddress } from "./comeback";

const ADDRESS = "api/v1/session";
const BEGUN = "netrewind.session";

/** How many sessions have begun: what one was refused, the next may be given. */
export const sessions = signal(0);
/** The service has asked for a token, and has none yet. */
export const isAskedForToken = signal(false);
/** There is a session that can be ended: only the service knows its cookie. */
export const hasSession = signal(localStorage.getItem(BEGUN) !== null);

/** Trades a token for a session. Null where that went well; else why not. */
export async function signIn(token: string): Promise<string | null> {
  let response: Response;
  try {
    response = await fetch(ADDRESS, { method: "POST", headers: { authorization: `Bearer ${token.trim()}` } });
  } catch {
    return "The service does not answer";
  }
  if (!response.ok) {
    const problem = await response.json().catch(() => null) as { detail?: string } | null;
    return problem?.detail ?? response.statusText;
  }
  localStorage.setItem(BEGUN, "");
  hasSession.value = true;
  sessions.value += 1;
  isAskedForToken.value = false;
  return null;
}

/** Address at which users sign in who have no token; null where there is none. */
export async function otherSignIn(): Promise<string | null> {
  const response = await fetch(ADDRESS, { method: "POST" }).catch(() => null);
  const problem = await response?.json().catch(() => null) as { sign_in?: string } | null;
  return problem?.sign_in ?? null;
}

/** The browser leaves to sign in elsewhere, and comes back with a session. */
export function leaveToSignIn(): void {
  keepAddress();
  localStorage.setItem(BEGUN, "");
}

export async function signOut(): Promise<void> {
  await fetch(ADDRESS, { method: "DELETE" }).catch(() => null);
  localStorage.removeItem(BEGUN);
  hasSession.value = false;
  isAskedForToken.value = true;
}

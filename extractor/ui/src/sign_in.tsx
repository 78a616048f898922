// Asks for a token where the service wants one.

import { useSignal } from "@preact/signals";
import { isAskedForToken, signIn } from "./session";

export function SignIn() {
  const token = useSignal("");
  const refusal = useSignal<string | null>(null);
  const submit = async (event: Event) => {
    event.preventDefault();
    refusal.value = await signIn(token.value);
    token.value = "";
  };
  if (!isAskedForToken.value) return null;
  return (
    <form class="card sign-in" onSubmit={submit}>
      <label for="token">Token</label>
      <input id="token" type="password" autocomplete="current-password" required placeholder="nrw_…"
        value={token.value} onInput={(event) => { token.value = event.currentTarget.value; }} />
      <button type="submit" class="primary">Sign in</button>
      {refusal.value !== null && <p class="bad" role="alert">{refusal.value}</p>}
    </form>
  );
}

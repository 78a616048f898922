// Asks for a token where the service wants one.

import { useEffect, useRef } from "preact/hooks";
import { useSignal } from "@preact/signals";
import { leaveToSignIn, otherSignIn, signIn } from "./session";

export function SignIn() {
  const token = useSignal("");
  const refusal = useSignal<string | null>(null);
  const box = useRef<HTMLInputElement>(null);
  const elsewhere = useSignal<string | null>(null);
  useEffect(() => {
    box.current?.focus();
    void otherSignIn().then((address) => { elsewhere.value = address; });
  }, []);
  const submit = async (event: Event) => {
    event.preventDefault();
    refusal.value = null;
    const given = token.value;
    token.value = "";
    refusal.value = await signIn(given);
    box.current?.focus();
  };
  return (
    <form class="card sign-in" onSubmit={submit}>
      <h1>netrewind</h1>
      {elsewhere.value !== null && <p><a href={elsewhere.value} onClick={leaveToSignIn}>Sign in with your organisation's account</a></p>}
      <p>This recorder needs an access token. Its administrator creates one with <code>netrewind token add NAME --scope extract,flows,status</code></p>
      <label for="token">Token</label>
      <input id="token" ref={box} type="password" autocomplete="current-password" required placeholder="nrw_…"
        value={token.value} onInput={(event) => { token.value = event.currentTarget.value; }} />
      <button type="submit" class="primary">Sign in</button>
      {refusal.value !== null && <p class="bad" role="alert">{refusal.value}</p>}
    </form>
  );
}

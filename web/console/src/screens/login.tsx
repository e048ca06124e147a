import { useEffect, useRef, useState } from "preact/hooks";
import { byApp, login, loginByApp, loginReason } from "../session.js";
import { text } from "../strings.js";
import { Heading, CopyButton } from "../ui/basic.js";
import { Mark } from "../ui/icons.js";

export function Login() {
  return (
    <main id="main" class="login">
      <p class="brand"><Mark />{text.brand}</p>
      {byApp ? <AppLogin /> : <TokenLogin />}
    </main>
  );
}

/** Where the app says who the user is, and nobody has signed in there. */
function AppLogin() {
  return (
    <div class="panel">
      <Heading title={text.screens.login} />
      {loginReason.value && <p class="note bad" role="alert">{loginReason.value}</p>}
      <p>{text.login.app}</p>
      <div><button type="button" class="main" onClick={loginByApp}>{text.login.again}</button></div>
    </div>
  );
}

function TokenLogin() {
  const [wrong, setWrong] = useState("");
  const field = useRef<HTMLTextAreaElement>(null);
  useEffect(() => field.current?.focus(), []);
  const why = wrong || loginReason.value;
  const submit = (event: Event): void => {
    event.preventDefault();
    const token = field.current!.value.trim();
    field.current!.value = "";
    if (!login(token)) setWrong(text.login.noToken);
  };
  return (
    <form class="panel" onSubmit={submit}>
      <Heading title={text.screens.login} />
      {why && <p class="note bad" role="alert">{why}</p>}
      <p>{text.login.intro}</p>
      <label for="token">{text.login.token}</label>
      <textarea id="token" ref={field} rows={5} required autocomplete="off" autocapitalize="off" spellcheck={false}
        aria-describedby="token-stays"
        onKeyDown={(e) => { if (e.key === "Enter" && !e.shiftKey) submit(e); }} />
      <p id="token-stays" class="small">{text.login.stays}</p>
      <div><button type="submit" class="main">{text.login.enter}</button></div>
      <hr />
      <p>{text.login.how}</p>
      <p class="command"><code>{text.login.command}</code><CopyButton words={() => text.login.command} label="Copy" /></p>
      <p class="small">{text.login.dev}</p>
    </form>
  );
}

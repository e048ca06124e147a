import { helpOpen } from "../keys.js";
import { server } from "../router.js";
import { byApp } from "../session.js";
import { text } from "../strings.js";
import { Heading } from "../ui/basic.js";
import { Icon } from "../ui/icons.js";

export function About() {
  const { about: t } = text;
  return (
    <>
      <Heading title={text.screens.about} />
      <section class="panel">
        <p>{t.what}</p>
      </section>
      <section class="panel" aria-labelledby="h-links">
        <h2 id="h-links">{t.links}</h2>
        <ul class="plain links">
          {t.list.filter(([to]) => to !== "demo" || !byApp).map(([to, name, what]) => (
            <li key={to}><a href={new URL(to, server).href}>{name}<Icon name="external" /></a> <span class="small">{what}</span></li>
          ))}
        </ul>
      </section>
      <section class="panel" aria-labelledby="h-promises">
        <h2 id="h-promises">{t.promisesTitle}</h2>
        <ul class="plain bullets">{t.promises.map((p) => <li key={p}>{p}</li>)}</ul>
      </section>
      <p><button type="button" onClick={() => { helpOpen.value = true; }}>{text.help.title}</button></p>
    </>
  );
}

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import * as gifenc from "gifenc";
import type { Page } from "playwright-core";
import { PNG } from "pngjs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { newContext } from "../support/page.js";
import { Server, token } from "../support/server.js";

// Films the README's moving picture ("make pictures"): on the left an app's SQL as it is
// typed, on the right the real page of the user who owns the task. It is not a test.

const file = join(import.meta.dirname, "../../../docs/images/film.gif");
const most = 700_000; // bytes
const size = { width: 960, height: 520 };
const left = 440; // the width of the terminal
const scale = 0.8; // of the page beside it

const cut = "Cut the connection"; // buttons of the page
const connect = "Connect now";

interface Scene { sql?: string; click?: string; note: string; until: string }

/** What happens, and the text on the page that shows that it has. */
const story: Scene[] = [
  { note: "Your app writes rows…", sql: "INSERT INTO taskfeed.tasks\n  (id, user_id, kind)\nVALUES ('t1', 'alice', 'export');", until: "queued" },
  { note: "…and their owner sees each change after its commit.", sql: "UPDATE taskfeed.tasks SET status = 'running',\n  progress = 40, message = 'writing CSV'\nWHERE id = 't1';", until: "writing CSV" },
  { note: "Now alice's connection breaks.", click: cut, until: connect },
  { note: "Nobody is there to hear this…", sql: "UPDATE taskfeed.tasks SET progress = 90\nWHERE id = 't1';", until: "" },
  { note: "…nor this.", sql: "UPDATE taskfeed.tasks\nSET status = 'completed',\n  result = '{\"rows\": 1234}'\nWHERE id = 't1';", until: "" },
  { note: "She is back, and has missed nothing.", click: connect, until: "completed" },
];

/** The frames of a film. Equal ones are one that stays longer; what does not change is transparent. */
class Film {
  readonly #gif = gifenc.GIFEncoder();
  #before: Uint8Array | undefined; // pixels
  #now: Uint8Array | undefined;
  #stay = 0;

  add(png: Buffer, milliseconds: number): void {
    const pixels: Buffer = PNG.sync.read(png).data;
    if (this.#now && pixels.equals(this.#now)) {
      this.#stay += milliseconds;
      return;
    }
    this.#write();
    this.#before = this.#now;
    this.#now = pixels;
    this.#stay = milliseconds;
  }

  #write(): void {
    if (!this.#now) return;
    const palette = gifenc.quantize(this.#now, 63);
    const image = gifenc.applyPalette(this.#now, palette);
    const transparentIndex = palette.push([0, 0, 0]) - 1;
    if (this.#before) {
      const [now, before] = [this.#now, this.#before].map((p) => new Uint32Array(p.buffer, p.byteOffset, image.length)) as [Uint32Array, Uint32Array];
      now.forEach((pixel, i) => { if (pixel === before[i]) image[i] = transparentIndex; });
    }
    this.#gif.writeFrame(image, size.width, size.height, { palette, delay: this.#stay, transparent: true, transparentIndex, dispose: 1 });
  }

  end(): Uint8Array {
    this.#write();
    this.#gif.finish();
    return this.#gif.bytes();
  }
}

describe.skipIf(!process.env["PICTURES"])("film", () => {
  let server: Server;
  beforeAll(async () => { server = await Server.start(); });
  afterAll(() => server.remove());

  it("shows a task, a cut connection and what was missed", async () => {
    const context = await newContext({ colorScheme: "light", viewport: { width: (size.width - left) / scale, height: size.height / scale } });
    const user = await context.newPage();
    await user.clock.install();
    await user.goto(`${server.base}/demo#token=${token("alice")}`);
    await user.getByText("Nothing is under way").waitFor();
    await user.evaluate(() => { for (const hint of document.querySelectorAll<HTMLElement>(".empty")) hint.style.display = "none"; });
    const stage = await context.newPage();
    await stage.setViewportSize(size);
    await stage.setContent(`<!doctype html><style>
      body { margin: 0; display: grid; grid-template-columns: ${left}px 1fr; height: 100vh; background: #fff }
      section { background: #17202b; color: #e7ecf2; font: 13px/1.5 "DejaVu Sans Mono", monospace; padding: 18px; overflow: hidden; display: flex; flex-direction: column }
      p { font: 600 17px/1.4 "DejaVu Sans", sans-serif; margin: 0 0 14px; color: #ffd479; min-height: 48px }
      pre { margin: 0; white-space: pre-wrap; flex: 1; display: flex; flex-direction: column; justify-content: flex-end }
      img { width: ${size.width - left}px; height: ${size.height}px; display: block }</style>
      <section><p></p><pre></pre></section><img alt="">`);
    const film = new Film();
    let typed = "";
    const shoot = async (note: string, milliseconds: number): Promise<void> => {
      const page = (await user.screenshot()).toString("base64");
      await show(stage, note, typed + "▌", page);
      film.add(await stage.screenshot(), milliseconds);
    };
    for (const { note, sql, click, until } of story) {
      await shoot(note, 900);
      if (sql) {
        typed += "app=> ";
        for (const word of sql.split(/(?<=\s)/)) {
          typed += word;
          await shoot(note, 70);
        }
        await server.sql(sql);
        typed += "\n\n";
      }
      if (click === connect) await user.clock.resume();
      if (click) await user.getByRole("button", { name: click, exact: true }).click();
      if (until) await user.getByText(until).first().waitFor();
      await sleep(700); // the page's own movements
      if (click === cut) await user.clock.pauseAt(Date.now() + 500); // it would connect again by itself
      await shoot(note, 1600);
    }
    await shoot(story.at(-1)!.note, 2500);
    const bytes = film.end();
    writeFileSync(file, bytes);
    expect(bytes.length, file).toBeLessThan(most);
    await context.close();
  }, 180_000);
});

async function show(stage: Page, note: string, typed: string, page: string): Promise<void> {
  await stage.evaluate(async ([note, typed, page]) => {
    document.querySelector("p")!.textContent = note!;
    document.querySelector("pre")!.textContent = typed!;
    const img = document.querySelector("img")!;
    img.src = "data:image/png;base64," + page;
    await img.decode();
  }, [note, typed, page]);
}

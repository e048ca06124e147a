import { say } from "./announce.js";
import { text } from "./strings.js";

/** Copies the text to the clipboard and announces that; returns whether it could. */
export async function copy(words: string): Promise<boolean> {
  const done = await write(words);
  say(done ? text.copied : text.copyFailed);
  return done;
}

async function write(words: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(words);
    return true;
  } catch {
    return writeBySelection(words); // pages over http have no clipboard API
  }
}

function writeBySelection(words: string): boolean {
  const area = document.createElement("textarea");
  area.value = words;
  area.className = "offscreen";
  const focused = document.activeElement as HTMLElement | null;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  focused?.focus();
  return done;
}

/** Lets the browser save a file. */
export function save(name: string, content: Blob): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

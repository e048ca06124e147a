import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

/** Repeats a check until it is true, or fails after a while. */
export async function waitFor(what: string, ask: () => boolean | Promise<boolean>, within = 40_000): Promise<void> {
  const end = Date.now() + within;
  while (!(await ask())) {
    if (Date.now() > end) throw new Error(`${what}: not within ${within} ms`);
    await sleep(50);
  }
}

/** Returns a port that is free now. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().on("error", reject).listen(0, "127.0.0.1", () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    });
  });
}

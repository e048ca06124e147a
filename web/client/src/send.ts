import { lost, TaskFeedError } from "./errors.js";
import type { Settings } from "./options.js";
import { newRetry } from "./retry.js";
import { statusError } from "./sse.js";
import type { Tokens } from "./token.js";

/**
 * Sends a message to the app until it is answered, and returns its id. The ref stays the
 * same, so that the app gets the message once, however often an answer is lost.
 */
export async function send(o: Settings, tokens: Tokens, message: object, signal?: AbortSignal): Promise<number> {
  const retry = newRetry({ ...o, transports: ["sse"] });
  const body = JSON.stringify({ ref: crypto.getRandomValues(new Uint32Array(4)).join("-"), ...message });
  for (;;) {
    try {
      const { token } = await tokens.get();
      const answer = await o.fetch(o.messages, {
        method: "POST", headers: { Authorization: "Bearer " + token, "Content-Type": "application/json" }, body, redirect: "error", signal,
      });
      if (answer.ok) return (await answer.json()).id;
      throw await statusError(answer, token);
    } catch (e) {
      const error = e instanceof TaskFeedError ? e : lost("the message is not answered", { cause: e });
      if (error.code === "rejected") tokens.refused();
      signal?.throwIfAborted();
      const wait = retry.after(error);
      await new Promise((resolve) => setTimeout(resolve, wait));
      signal?.throwIfAborted();
    }
  }
}

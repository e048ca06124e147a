import { server } from "./router.js";
import { logout, session } from "./session.js";
import { text } from "./strings.js";
import { isObject, readProblem, type ProblemDocument } from "./problem.js";

/**
 * Why a request failed. `away`: there was no answer, or one that says to try again
 * later; everything else concerns this one request.
 */
export class Problem extends Error {
  constructor(
    message: string,
    readonly kind: "away" | "refused",
    readonly status = 0,
    readonly document: ProblemDocument = {},
  ) {
    super(message);
  }
}

const timeout = 40_000; // ms; the server may take 30 s to answer that a filter selects too much

/** Called for every request that failed because the server does not answer. */
export const onAway = new Set<() => void>();

export interface Ask {
  query?: URLSearchParams | Record<string, string>;
  method?: string;
  accept?: string;
  /** Used in place of the session's token. */
  token?: string;
  signal?: AbortSignal;
}

/** Sends a request with a token and returns the answer if it is a success. Throws a Problem otherwise. */
export async function request(path: string, ask: Ask = {}): Promise<Response> {
  const url = new URL(path, server);
  url.search = new URLSearchParams(ask.query).toString();
  const token = ask.token ?? session.value?.token ?? "";
  const limit = AbortSignal.timeout(timeout);
  let answer: Response;
  try {
    answer = await fetch(url, {
      method: ask.method ?? "GET",
      headers: {
        Accept: ask.accept ?? "application/json",
        ...(token && { Authorization: "Bearer " + token }),
      },
      cache: "no-store",
      signal: ask.signal ? AbortSignal.any([ask.signal, limit]) : limit,
    });
  } catch (error) {
    if (ask.signal?.aborted) throw error;
    throw away(text.problem.noAnswer);
  }
  if (answer.ok) return answer;
  throw await refusal(answer, token);
}

async function refusal(answer: Response, token: string): Promise<Problem> {
  const { status } = answer;
  const document = await readProblem(answer);
  const away = status >= 502 && status <= 504;
  const problem = new Problem(document.detail ?? text.problem.status(status), away ? "away" : "refused", status, document);
  if (away) for (const tell of onAway) tell();
  // Only the token of this request is refused, not a newer one.
  if (status === 401 && session.value?.token === token) logout(problem.message);
  return problem;
}

/** Requests text. */
export async function getText(path: string, ask?: Ask): Promise<string> {
  const answer = await request(path, ask);
  try {
    return await answer.text();
  } catch (error) {
    if (ask?.signal?.aborted) throw error;
    throw away(text.problem.noAnswer); // the answer was cut off
  }
}

/** Requests JSON. The API returns only objects; anything else comes from an intermediary, such as a network's login page. */
export async function get<T extends object>(path: string, ask?: Ask): Promise<T> {
  const words = await getText(path, ask);
  let body: unknown;
  try {
    body = JSON.parse(words);
  } catch {
    // not JSON
  }
  if (!isObject(body)) throw away(text.problem.foreign);
  return body as T;
}

function away(message: string): Problem {
  for (const tell of onAway) tell();
  return new Problem(message, "away");
}

import { bad } from "./frame.js";
import { because, lost, TaskFeedError } from "./errors.js";
import type { Link, Sink } from "./session.js";

/** The maximum length of a line, far above what a server sends. */
const maxLine = 1 << 22;

/**
 * Connects by server-sent events over fetch, so that the token is in a header
 * and not in the URL. `retry` is called with the minimum wait that the server asks for.
 */
export function openStream(fetcher: typeof fetch, url: string, token: string, sink: Sink, retry: (ms: number) => void): Link {
  const abort = new AbortController();
  const read = async (): Promise<void> => {
    const answer = await fetcher(url, {
      headers: { Accept: "text/event-stream", Authorization: "Bearer " + token },
      cache: "no-store",
      redirect: "error",
      signal: abort.signal,
    });
    if (!answer.ok || !is(answer, /^text\/event-stream/i)) throw await statusError(answer, token);
    sink.open();
    const decoder = new TextDecoder();
    const parse = eventParser(sink.text, retry, sink.silence);
    const reader = answer.body!.getReader();
    for (let chunk; !(chunk = await reader.read()).done; await sink.drained()) {
      sink.heard();
      parse(decoder.decode(chunk.value, { stream: true }));
    }
    throw lost("the stream ended");
  };
  read().catch((error: unknown) =>
    sink.end(error instanceof TaskFeedError ? error : lost("the connection broke off", { cause: error })));
  return { close: () => abort.abort() };
}

const is = (answer: Response, type: RegExp): boolean => type.test(answer.headers.get("Content-Type")!); // null, as text, does not match

/** Returns the error for an answer that is not a stream. It uses the body only if that is a problem document (RFC 9457): a proxy may have sent another. */
export async function statusError(answer: Response, token: string): Promise<TaskFeedError> {
  const { status } = answer;
  const { detail, title, code: reason } = Object(is(answer, /^application\/problem\+json/i) && await answer.json().catch(() => 0));
  const why = (because(detail) || because(title)).replaceAll(token, "[token]");
  const code = status === 401 ? "rejected" : status === 403 ? "forbidden"
    : status < 400 || status > 499 || [408, 425, 429].includes(status) ? "connection" : "refused";
  const after = answer.headers.get("Retry-After")!; // seconds or a date; null is neither
  const wait = +after * 1000 || Date.parse(after) - Date.now() || 0;
  return new TaskFeedError(code, `the server answered ${status}${why}`,
    { status, reason, retryAfter: Math.min(Math.max(wait, 0), 600_000) });
}

/**
 * Parses an event stream by the WHATWG rules, in pieces of any size. It ignores the
 * names of events and their ids: the data has both. A comment may announce the interval
 * of comments.
 */
export function eventParser(data: (text: string) => void, retry: (ms: number) => void, silence: (ms: number) => void): (chunk: string) => void {
  let rest = "";
  let lines: string[] = [];
  let afterCR = false;
  return (chunk) => {
    if (!chunk) return;
    if (afterCR && chunk[0] === "\n") chunk = chunk.slice(1); // the other half of a CRLF
    afterCR = chunk.endsWith("\r");
    const complete = (rest + chunk).split(/\r\n?|\n/);
    rest = complete.pop()!;
    for (const line of complete) {
      const [, name, value] = /^(: silence|[^:]*):? ?([^]*)$/.exec(line)!;
      if (!line) {
        if (lines.length) data(lines.join("\n"));
        lines = [];
      } else if (name === "data") {
        lines.push(value!);
      } else if (/^\d+$/.test(value!)) {
        if (name === "retry") retry(+value!);
        if (name === ": silence") silence(+value!);
      }
    }
    if (rest.length > maxLine) throw bad("a line is too long");
  };
}

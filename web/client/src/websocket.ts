import { bad } from "./frame.js";
import { closed, lost } from "./errors.js";
import type { Link, Sink } from "./session.js";
import type { WebSocketClass } from "./types.js";

/** Connects by WebSocket. The token is in the subprotocol, so that no log of URLs contains it. */
export function openSocket(Socket: WebSocketClass, url: string, token: string, sink: Sink): Link {
  const socket = new Socket(url, ["taskfeed.v1", "bearer." + token]);
  socket.onopen = () => sink.open();
  socket.onmessage = ({ data }: { data: unknown }) =>
    typeof data === "string" ? sink.text(data) : sink.end(bad("a message is binary"));
  // The browser does not tell a page why a handshake failed or a connection ended.
  socket.onerror = () => sink.end(lost("the connection broke off"));
  socket.onclose = ({ code, reason }: { code: number; reason?: string }) =>
    sink.end(code === 1006 ? lost("the connection broke off") : closed(code, (reason ?? "").replaceAll(token, "[token]")));
  return {
    ask: () => socket.send("ping"),
    auth: (next) => socket.send(JSON.stringify({ type: "auth", token: next })),
    close: () => {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.onerror = () => {}; // some implementations throw without a listener
      socket.close(1000);
    },
  };
}

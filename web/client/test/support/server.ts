import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { WebSocketServer, type WebSocket } from "ws";

/** The server's side of one connection, over either transport. */
export interface Peer {
  transport: "websocket" | "sse";
  url: URL;
  /** The token, from where the transport carries it. */
  token: string;
  after: string | null;
  headers: IncomingMessage["headers"];
  /** What the client has sent over a WebSocket. */
  heard: string[];
  /** Answers without a feed. */
  answer(status: number, headers?: Record<string, string>, body?: string): void;
  /** Accepts. */
  open(): Promise<void>;
  /** Sends frames; after open. */
  send(...frames: unknown[]): void;
  /** Sends bytes unchanged, without the transport's framing. */
  raw(bytes: string | Uint8Array): void;
  /** Closes in an orderly way; over SSE the code is lost. */
  close(code: number, reason?: string): void;
  /** Cuts the connection. */
  cut(): void;
}

export interface ScriptedServer {
  url: string;
  peers: Peer[];
  stop(): Promise<void>;
}

/** Starts a server whose nth connection is served by `serve(peer, n)`. */
export async function scriptedServer(serve: (peer: Peer, n: number) => void | Promise<void>): Promise<ScriptedServer> {
  const upgrades = new WebSocketServer({ noServer: true, handleProtocols: () => "taskfeed.v1" });
  const peers: Peer[] = [];
  const begin = (peer: Peer): void => {
    peers.push(peer);
    void serve(peer, peers.length - 1);
  };
  const http = createServer((request, response) => begin(streamPeer(request, response)));
  http.on("upgrade", (request, socket: Socket, head) => begin(socketPeer(upgrades, request, socket, head)));
  await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(http.address() as AddressInfo).port}`,
    peers,
    stop: () => new Promise((resolve) => {
      for (const client of upgrades.clients) client.terminate();
      http.closeAllConnections();
      http.close(() => resolve());
    }),
  };
}

function common(request: IncomingMessage): Pick<Peer, "url" | "after" | "headers" | "heard"> {
  const url = new URL(request.url!, "http://server");
  return { url, after: url.searchParams.get("after"), headers: request.headers, heard: [] };
}

const text = (frame: unknown): string => (typeof frame === "string" ? frame : JSON.stringify(frame));

function socketPeer(upgrades: WebSocketServer, request: IncomingMessage, socket: Socket, head: Buffer): Peer {
  socket.on("error", () => {});
  let ws: WebSocket;
  const peer: Peer = {
    ...common(request),
    transport: "websocket",
    token: (request.headers["sec-websocket-protocol"] ?? "").replace(/^taskfeed\.v1,\s*bearer\./, ""),
    answer(status, headers = {}, body = "") {
      const lines = Object.entries({ ...headers, "Content-Length": String(Buffer.byteLength(body)), Connection: "close" });
      socket.end(`HTTP/1.1 ${status} x\r\n${lines.map(([k, v]) => `${k}: ${v}\r\n`).join("")}\r\n${body}`);
    },
    open: () => new Promise((resolve) => upgrades.handleUpgrade(request, socket, head, (opened) => {
      ws = opened;
      ws.on("message", (data) => {
        peer.heard.push(String(data));
        if (String(data) === "ping") ws.send("pong");
      });
      ws.on("error", () => {});
      resolve();
    })),
    send: (...frames) => frames.forEach((f) => ws.send(text(f))),
    raw: (bytes) => void socket.write(bytes),
    close: (code, reason) => ws.close(code, reason),
    cut: () => socket.end(),
  };
  return peer;
}

function streamPeer(request: IncomingMessage, response: ServerResponse): Peer {
  return {
    ...common(request),
    transport: "sse",
    token: (request.headers.authorization ?? "").replace(/^Bearer /, ""),
    answer(status, headers = {}, body = "") { response.writeHead(status, headers).end(body); },
    async open() {
      response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-store" });
      response.flushHeaders();
    },
    send: (...frames) => frames.forEach((f) => response.write(asEvent(f))),
    raw: (bytes) => void response.write(bytes),
    close: () => void response.end(),
    cut: () => void response.socket?.destroy(),
  };
}

/** A frame as an SSE server writes it. */
function asEvent(frame: unknown): string {
  const f = typeof frame === "object" && frame !== null ? (frame as { id?: number; type?: string }) : {};
  return `${f.id ? `id: ${f.id}\n` : ""}${f.type ? `event: ${f.type}\n` : ""}data: ${text(frame)}\n\n`;
}

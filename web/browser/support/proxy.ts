import { createServer, request, type Server as HTTPServer } from "node:http";
import { connect, type AddressInfo, type Socket } from "node:net";

export interface Proxy {
  base: string;
  /** Cuts every connection, as a network failure does. */
  cut: () => void;
  close: () => Promise<void>;
}

/**
 * A reverse proxy that removes a prefix from the path, as one in front of several apps
 * does. It does not tell the server about the prefix.
 */
export async function prefixProxy(port: number, prefix: string, { sockets = true } = {}): Promise<Proxy> {
  const open = new Set<Socket>();
  const strip = (url = ""): string | null => (url.startsWith(prefix + "/") ? url.slice(prefix.length) : null);
  const proxy: HTTPServer = createServer((incoming, outgoing) => {
    const path = strip(incoming.url);
    if (path === null) return void outgoing.writeHead(404).end("not behind this prefix");
    const upstream = request({ host: "127.0.0.1", port, path, method: incoming.method, headers: incoming.headers }, (answer) => {
      outgoing.writeHead(answer.statusCode!, answer.headers);
      answer.pipe(outgoing);
    });
    upstream.on("error", () => outgoing.destroy());
    outgoing.on("close", () => upstream.destroy());
    incoming.pipe(upstream);
  });
  proxy.on("connection", (socket) => {
    open.add(socket);
    socket.on("close", () => open.delete(socket)).on("error", () => {});
  });
  proxy.on("upgrade", (incoming, client: Socket, head) => {
    const path = strip(incoming.url);
    if (path === null || !sockets) return void client.end("HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\n\r\n");
    const upstream = connect(port, "127.0.0.1", () => {
      const headers = incoming.rawHeaders.reduce((text, part, i) => text + part + (i % 2 ? "\r\n" : ": "), "");
      upstream.write(`${incoming.method} ${path} HTTP/1.1\r\n${headers}\r\n`);
      upstream.write(head);
      upstream.pipe(client).pipe(upstream);
    });
    for (const [one, other] of [[upstream, client], [client, upstream]] as const) one.on("error", () => {}).on("close", () => other.destroy());
  });
  await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  const cut = (): void => {
    for (const socket of open) socket.destroy();
  };
  return {
    cut,
    base: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}${prefix}`,
    async close() {
      cut();
      await new Promise((resolve) => proxy.close(resolve));
    },
  };
}

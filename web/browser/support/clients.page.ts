// The script of the page in the tests of third-party clients.
import { clients, gather, pageClients, type Feed, type Got } from "./clients.js";

const got: Record<string, Got> = {};

Object.assign(globalThis, {
  got,
  follow(feed: Feed): string[] {
    for (const [name, client] of Object.entries({ ...clients(), ...pageClients })) got[name] = gather(client, feed);
    return Object.keys(got);
  },
});

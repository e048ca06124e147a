import { describe, expect, it } from "vitest";
import { afterLook, hadBy, since } from "../src/stays.js";
import type { Connection } from "../src/types.js";

const connection = (id: string, since: number, cursor = 0): Connection =>
  ({ id, user_id: "alice", transport: "websocket", since: new Date(since).toISOString(), remote_addr: "", cursor, bytes_sent: 0 });

describe("who was connected when", () => {
  const first = afterLook([], [connection("b", 2000), connection("a", 1000, 7)], 5000);

  it("begins at the times of the server, the longest first", () => {
    expect(first.map(({ id, start, end, cursor }) => [id, start, end, cursor])).toEqual([["a", 1000, null, 7], ["b", 2000, null, 0]]);
  });

  it("ends when the server does not list a connection any more, and stays known", () => {
    const second = afterLook(first, [connection("b", 2000, 9)], 6000);
    expect(second.map(({ id, end, cursor }) => [id, end, cursor])).toEqual([["a", 6000, 7], ["b", null, 9]]);
    expect(afterLook(second, [], 7000).map(({ end }) => end)).toEqual([6000, 7000]);
  });

  it("ends when the server says", () => {
    const ended = { ...connection("b", 2000, 3), until: new Date(4000).toISOString() };
    const second = afterLook(first, [connection("a", 1000, 7), ended], 6000);
    expect(second.map(({ id, end, cursor }) => [id, end, cursor])).toEqual([["a", null, 7], ["b", 4000, 3]]);
    expect(since(second, 4001).map(({ id }) => id)).toEqual(["a"]);
    expect(since(second, 4000).map(({ id }) => id)).toEqual(["a", "b"]);
  });

  it("adds later connections", () => {
    expect(afterLook(first, [connection("a", 1000), connection("b", 2000), connection("c", 5500)], 6000).map(({ id }) => id)).toEqual(["a", "b", "c"]);
  });
});

it("says by when a client had an event", () => {
  const phone = { deliveries: [{ through: 10, at: "t1" }, { through: 20, at: "t2" }] };
  expect([5, 10, 11, 20, 21].map((id) => hadBy(phone, id))).toEqual(["t1", "t1", "t2", "t2", null]);
});

// @vitest-environment happy-dom
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { TaskFeed, type FeedOptions } from "../src/index.js";
import { event, FakeNet, live, reset, settled } from "./support/fake.js";

// The hooks, under React and under Preact.

const kinds = ["react", "preact"] as const;

async function load(kind: (typeof kinds)[number]): Promise<any> {
  vi.resetModules();
  if (kind === "react") {
    vi.doUnmock("react");
    const [React, { createRoot }, hooks] = await Promise.all([import("react"), import("react-dom/client"), import("../src/react.js")]);
    const render = (element: any, target: HTMLElement): (() => void) => {
      const root = createRoot(target);
      React.act(() => root.render(element));
      return () => React.act(() => root.unmount());
    };
    return { h: React.createElement, act: React.act, StrictMode: React.StrictMode, render, ...hooks };
  }
  const compat = await import("preact/compat");
  vi.doMock("react", () => compat);
  const hooks = await import("../src/react.js");
  const { act } = await import("preact/test-utils");
  const render = (element: any, target: HTMLElement): (() => void) => {
    act(() => void compat.render(element, target));
    return () => act(() => void compat.render(null as any, target));
  };
  return { h: compat.createElement, act, StrictMode: compat.Fragment, render, ...hooks };
}

describe.each(kinds)("%s", (kind) => {
  let api: any;
  let net: FakeNet;
  let feed: TaskFeed;
  let target: HTMLElement;

  beforeEach(async () => {
    (globalThis as any).IS_REACT_ACT_ENVIRONMENT = true;
    api = await load(kind);
    net = new FakeNet();
    target = document.createElement("div");
  });

  afterEach(() => feed?.close());

  const show = (Component: () => any, options?: Partial<FeedOptions>): (() => void) => {
    feed = new TaskFeed(net.options({ after: 0, ...options }));
    return api.render(api.h(api.StrictMode, null, api.h(api.TaskFeedProvider, { feed }, api.h(Component))), target);
  };
  const step = (work: () => void): Promise<void> => api.act(async () => { work(); await settled(); });

  test("useTasks shows the tasks as they change", async () => {
    const List = (): any => api.h("ul", null, api.useTasks().map((t: any) => api.h("li", { key: t.id }, `${t.id} ${t.status} ${t.progress}`)));
    show(List, { loadSnapshot: () => ({ tasks: [{ id: "t0", status: "queued", progress: 0, version: 1 }], cursor: 4 }) });
    await step(() => {});
    expect(net.sockets).toHaveLength(1);
    expect(target.textContent).toBe("t0 queued 0");
    await step(() => net.last.open().say(live(4), event(5, { type: "task_started", progress: 0 })));
    expect([...target.querySelectorAll("li")].map((li) => li.textContent)).toEqual(["t0 queued 0", "t1 running 0"]);
    await step(() => net.last.say(event(6), event(7, { type: "task_deleted", task_id: "t0" })));
    expect(target.textContent).toBe("t1 running 40");
  });

  test("useTask shows one task, and draws for that one alone", async () => {
    let drawn = 0;
    const One = (): any => { drawn++; return api.h("p", null, api.useTask("t1")?.progress ?? "none"); };
    show(One);
    await step(() => {});
    expect(target.textContent).toBe("none");
    await step(() => net.last.open().say(live(1), event(2)));
    expect(target.textContent).toBe("40");
    const before = drawn;
    await step(() => net.last.say(event(3, { task_id: "t2" })));
    expect(drawn).toBe(before);
    await step(() => net.last.say(event(4, { progress: 50 })));
    expect(target.textContent).toBe("50");
  });

  test("useTaskFeed shows the state and the error", async () => {
    const State = (): any => { const { feed: f, state, error } = api.useTaskFeed(); return api.h("p", null, `${f === feed} ${state} ${error?.code ?? ""}`); };
    show(State);
    await step(() => {});
    expect(target.textContent).toBe("true connecting ");
    await step(() => net.last.open().say(live(1)));
    expect(target.textContent).toBe("true live ");
    await step(() => net.last.shut(4003));
    expect(target.textContent).toBe("true closed forbidden");
  });

  test("useUnread shows what is unread", async () => {
    const Bell = (): any => api.h("p", null, api.useUnread()?.total ?? "?");
    const fetch: any = async () => ({ ok: true, json: async () => ({ through: 0, total: 2, more: false, types: { mail: 2 }, cursor: 1 }) });
    show(Bell, { unread: true, fetch });
    await step(() => {});
    expect(target.textContent).toBe("?");
    await step(() => net.last.open().say(live(1)));
    expect(target.textContent).toBe("2");
    await step(() => net.last.say(event(2, { type: "mail" })));
    expect(target.textContent).toBe("3");
    await step(() => net.last.say({ type: "feed_read", through: 2 }));
    expect(target.textContent).toBe("0");
  });

  test("a reset forgets the tasks and shows the snapshot", async () => {
    const Ids = (): any => api.h("p", null, api.useTasks().map((t: any) => t.id).join());
    let n = 0;
    show(Ids, { loadSnapshot: () => ({ tasks: [{ id: `s${n++}`, status: "queued", progress: 0, version: 1 }], cursor: 200 * n }) });
    await step(() => {});
    await step(() => net.last.open().say(reset("expired", 300)));
    expect(target.textContent).toBe("s1");
  });

  test("unmounting leaves the feed as it is", async () => {
    const unmount = show(() => null);
    await step(() => {});
    unmount();
    await step(() => net.last.open().say(live(1)));
    expect(feed.state).toBe("live");
  });

  test("without a provider there is a clear error", () => {
    feed = new TaskFeed(net.options());
    vi.spyOn(console, "error").mockImplementation(() => {});
    const Lost = (): any => api.useTasks();
    expect(() => api.render(api.h(Lost), target)).toThrow(/TaskFeedProvider/);
  });
});

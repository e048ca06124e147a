declare module "event-source-polyfill" {
  export class EventSourcePolyfill extends EventTarget {
    constructor(url: string, options?: { headers?: Record<string, string> });
    close(): void;
  }
}

declare module "eventsource2" {
  export default class EventSource extends EventTarget {
    constructor(url: string, options?: { headers?: Record<string, string> });
    close(): void;
  }
}
